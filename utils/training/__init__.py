"""What both training stages do: data order, optimiser, engine, tasks."""
