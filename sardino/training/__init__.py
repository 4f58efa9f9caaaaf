"""Procedures: crops, schedules, recipes, pre-training, fine-tuning."""
