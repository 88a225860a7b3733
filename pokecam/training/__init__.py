"""Fine-tuning: settings, schedule, views, trainer."""
