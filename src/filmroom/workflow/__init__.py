"""What happens by itself: jobs that are remembered until they are done."""
