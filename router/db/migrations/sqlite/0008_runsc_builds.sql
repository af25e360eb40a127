-- Builds of gVisor that a node can restore memory with; ids separated by commas.
ALTER TABLE nodes ADD COLUMN runsc_builds TEXT NOT NULL DEFAULT '';
