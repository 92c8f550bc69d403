"""The ROS border: conversion, parameters, QoS, diagnostics."""
