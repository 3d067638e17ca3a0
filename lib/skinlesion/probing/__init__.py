"""What a trained network looks at, and what moves it."""
