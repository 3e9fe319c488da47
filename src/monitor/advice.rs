//! What happened where a partition stands still, and what to do: the words of the README's table.

pub(super) struct Advice {
    pub(super) happened: &'static str,
    pub(super) remedy: &'static str,
}

const fn say(happened: &'static str, remedy: &'static str) -> Advice {
    Advice { happened, remedy }
}

/// `kind`: as `IncidentKind::name` has it.
pub(super) const fn of(kind: &str) -> Advice {
    match kind.as_bytes() {
        b"retention" => say(
            "the source deleted records before they were read (retention or DeleteRecords)",
            "accept the gap, and give the topic a longer retention",
        ),
        b"truncation" => say(
            "the source lost records that were copied: an unclean leader election",
            "compare both ends before going on",
        ),
        b"recreated" => {
            say("the source's topic was deleted and created again", "a new link, with `rename` or an emptied target")
        }
        b"target_recreated" => {
            say("the target's topic was, and what was copied is gone", "take a new link to copy everything again")
        }
        b"no_position" => say(
            "the target's partition holds records, and the ledger does not know it",
            "delete the target topic, rename it, or restore the ledger",
        ),
        b"other_source" => say(
            "the ledger knows the partition as one of another source cluster",
            "correct `source.bootstrap_servers`, or take a new link",
        ),
        b"target_changed" => {
            say("the partition was copied to another topic before (`rename`)", "restore the name, or take a new link")
        }
        b"corrupt" | b"oversized" | b"record_too_large" => say(
            "a batch is damaged, or too large for what the target takes",
            "repair the source's log; raise the target's `max.message.bytes`",
        ),
        b"invalid" => say(
            "a record does not pass the check of its topic, and `on_invalid` is `\"stop\"`",
            "set it to `\"dead_letter\"`, or mend the schema or the rule, and start again",
        ),
        b"unauthorized" | b"source_refused" | b"target_refused" => say(
            "a cluster refuses for good: a right is missing, or the target's topic is gone",
            "grant the right, restore the topic",
        ),
        _ => say("it is none that is known here", "see the log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const KINDS: [&str; 14] = [
        "retention",
        "truncation",
        "recreated",
        "target_recreated",
        "no_position",
        "other_source",
        "target_changed",
        "corrupt",
        "oversized",
        "record_too_large",
        "invalid",
        "unauthorized",
        "source_refused",
        "target_refused",
    ];

    #[test]
    fn the_readme_says_the_same() {
        for kind in KINDS {
            let named = format!("`{kind}`");
            let rows: Vec<_> = README.lines().filter(|it| it.starts_with('|') && it.contains(&named)).collect();
            let Advice { happened, remedy } = of(kind);
            assert!(rows.iter().any(|it| it.ends_with(&format!("| {happened} | {remedy} |"))), "{kind}: {rows:?}");
        }
    }
}
