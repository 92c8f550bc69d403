"""Pictures, report.html, summary.json and the comparison with truth."""
