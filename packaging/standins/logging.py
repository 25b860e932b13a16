"""Named by structlog in annotations alone: srvinit's lines are written by report/writer.py."""
