"""Body surfaces: landmarks, joint centres, and our body fitted inside the skin."""
