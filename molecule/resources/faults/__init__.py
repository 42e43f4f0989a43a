"""Faults that are silent in most houses, put into a lab one by one: when are people told, and is it cured?"""
