//! What came of a demo, for people.

use super::checker::Counts;
use super::letters::Letters;
use crate::types::TopicPartition;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Faults on one line.
const FAULTS_SHOWN: usize = 3;

#[derive(Clone, Debug)]
pub struct Verdict {
    /// Of each partition of the source.
    pub(super) partitions: BTreeMap<TopicPartition, Counts>,
    /// Or why they cannot be read.
    pub(super) letters: Result<Letters, String>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) transactions: u64,
    pub(super) aborted: u64,
    pub(super) failures: Vec<String>,
    pub(super) seed: u64,
    pub(super) elapsed: Duration,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        let sum = self.sum();
        let is_listed = self.letters.as_ref().is_ok_and(|it| it.total == sum.letters());
        // One partition must not make up for another.
        self.partitions.values().all(Counts::is_clean) && is_listed && sum.copied > 0 && self.failures.is_empty()
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.partitions.values().for_each(|it| sum.add(it));
        sum
    }

    /// Each partition that does not add up has a line of its own, the others of a topic one together.
    fn sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: BTreeMap<&str, (usize, Counts)> = BTreeMap::new();
        for (name, counts) in &self.partitions {
            if counts.adds_up() {
                let (number, sum) = topics.entry(&name.topic).or_default();
                *number += 1;
                sum.add(counts);
            } else {
                writeln!(f, "    {:<12} {}: DOES NOT ADD UP", name.to_string(), sum_of(counts, "≠"))?;
            }
        }
        for (topic, (number, counts)) in topics {
            writeln!(f, "    {topic:<12} {}, in each of {number} partitions", sum_of(&counts, "="))?;
        }
        Ok(())
    }
}

fn sum_of(counts: &Counts, relation: &str) -> String {
    format!(
        "read {:>7} {relation} written {:>7} + dead-lettered {:>4}",
        counts.produced,
        counts.copied,
        counts.letters()
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.sum();
        let Counts { produced, copied, lost, doubled, reordered, altered, phantom, misplaced, misjudged, .. } = &sum;
        writeln!(f, "verdict after {:.1} s, seed {}:", self.elapsed.as_secs_f64(), self.seed)?;
        writeln!(f, "  produced {produced}  copied {copied}  dead-lettered {}", sum.letters())?;
        self.sums(f)?;
        writeln!(
            f,
            "  lost {lost}  doubled {doubled}  reordered {reordered}  altered {altered}  phantom {phantom}  misplaced {misplaced}  \
             misjudged {misjudged}"
        )?;
        let reasons: Vec<_> = sum.dead_lettered.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        if !reasons.is_empty() {
            writeln!(f, "  dead letters: {}; for instance:", reasons.join(", "))?;
        }
        match &self.letters {
            Ok(letters) if letters.total != sum.letters() => writeln!(f, "  {} of them are LISTED", letters.total)?,
            Ok(letters) => write!(f, "{letters}")?,
            Err(error) => writeln!(f, "  the dead letters CANNOT BE LISTED: {error}")?,
        }
        writeln!(f, "  transactions {} ({} aborted and copied again)", self.transactions, self.aborted)?;
        let faults: Vec<_> = self.faults.iter().map(|(what, times)| format!("{times} {what}")).collect();
        for some in faults.chunks(FAULTS_SHOWN) {
            writeln!(f, "  survived: {}", some.join(", "))?;
        }
        for failure in &self.failures {
            writeln!(f, "  the bridge failed: {failure}")?;
        }
        let clean = "clean: each record exactly once, in order, in its topic or in the dead letters";
        write!(f, "  {}", if self.is_clean() { clean } else { "NOT CLEAN" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(counts: [Counts; 2], listed: u64) -> Verdict {
        let partitions = counts.into_iter().enumerate();
        Verdict {
            partitions: partitions.map(|(at, it)| (TopicPartition::new("orders", at as i32), it)).collect(),
            letters: Ok(Letters { total: listed, ..Letters::default() }),
            faults: BTreeMap::from([("bridges killed", 2)]),
            transactions: 3,
            aborted: 0,
            failures: Vec::new(),
            seed: 1,
            elapsed: Duration::from_secs(1),
        }
    }

    fn counts(produced: u64, copied: u64, letters: u64) -> Counts {
        Counts { produced, copied, dead_lettered: BTreeMap::from([("utf8", letters)]), ..Counts::default() }
    }

    #[test]
    fn each_partition_adds_up_by_itself() {
        let clean = verdict([counts(10, 9, 1), counts(5, 5, 0)], 1);
        assert!(clean.is_clean());
        let shown = clean.to_string();
        assert!(shown.contains("in each of 2 partitions") && shown.contains("dead letters: utf8 1"), "{shown}");
        assert!(shown.ends_with("in its topic or in the dead letters"), "{shown}");
        // What one has too few, the other has too many.
        let wrong = verdict([counts(10, 8, 1), counts(5, 6, 0)], 1);
        assert!(!wrong.is_clean());
        let shown = wrong.to_string();
        assert!(shown.contains("orders-0") && shown.contains("orders-1") && shown.ends_with("NOT CLEAN"), "{shown}");
    }

    #[test]
    fn the_list_has_what_was_seen() {
        assert!(!verdict([counts(10, 9, 1), counts(5, 5, 0)], 0).is_clean());
        let unlisted = verdict([counts(10, 9, 1), counts(5, 5, 0)], 1);
        assert!(!Verdict { letters: Err("down".to_owned()), ..unlisted.clone() }.is_clean());
        assert!(!Verdict { failures: vec!["it fell".to_owned()], ..unlisted }.is_clean());
        assert!(!verdict([counts(0, 0, 0), counts(0, 0, 0)], 0).is_clean(), "nothing proves nothing");
    }
}
