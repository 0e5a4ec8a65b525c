"""What one runs rather than imports: data, tasks, training, reports and the command line."""
