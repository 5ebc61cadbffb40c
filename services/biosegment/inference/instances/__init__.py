"""From class values to instances with ids and measurements, block by block.

Needs no GPU and never imports torch; ``docs/instances.md`` says what each step guarantees.
"""
