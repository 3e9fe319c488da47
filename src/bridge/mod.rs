//! A link: plan, lanes, the pipeline of one lane, drain.
