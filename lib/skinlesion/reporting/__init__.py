"""Tables, figures and pages, whatever they are of."""
