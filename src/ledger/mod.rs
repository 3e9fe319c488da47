//! Positions at the target: their records, their topic, their replay.
