//! What is known of ids. Pure: the time is an argument.

use super::{Registered, RegistryError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Topics of one link together have some hundred schemas; an id that is not among them any more is asked for again.
pub(super) const IDS_MAX: usize = 2_000;
/// Of schemas' texts. A registry that hands out huge ones must not fill the memory of its bridge.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// A producer may register the schema a moment after the bridge has asked; until then the registry is not asked for each record.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_secs(10);

pub(super) type Answer = Result<Arc<Registered>, RegistryError>;

pub(super) struct Cache {
    ids_max: usize,
    bytes_max: usize,
    entries: BTreeMap<i32, Entry>,
    bytes: usize,
    /// Counts uses: what was used longest ago goes first.
    tick: u64,
}

struct Entry {
    answer: Answer,
    bytes: usize,
    used: u64,
    /// None: an id's schema never changes.
    until: Option<Instant>,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(IDS_MAX, BYTES_MAX)
    }
}

impl Cache {
    fn new(ids_max: usize, bytes_max: usize) -> Self {
        Self { ids_max, bytes_max, entries: BTreeMap::new(), bytes: 0, tick: 0 }
    }

    pub(super) fn get(&mut self, id: i32, now: Instant) -> Option<Answer> {
        self.tick += 1;
        let entry = self.entries.get_mut(&id)?;
        if entry.until.is_some_and(|until| until <= now) {
            self.remove(id);
            return None;
        }
        entry.used = self.tick;
        Some(entry.answer.clone())
    }

    /// Keeps schemas, and for a while what is wrong with them; not what is wrong with the registry.
    pub(super) fn put(&mut self, id: i32, answer: &Answer, now: Instant) {
        let (bytes, until) = match answer {
            Ok(registered) => (registered.bytes(), None),
            Err(error) if error.is_about_schema() => (0, Some(now + NEGATIVE_TTL)),
            Err(_) => return,
        };
        self.remove(id);
        while !self.entries.is_empty() && (self.entries.len() >= self.ids_max || self.bytes + bytes > self.bytes_max) {
            let oldest = self.entries.iter().min_by_key(|(_, it)| it.used).map(|(id, _)| *id);
            oldest.into_iter().for_each(|it| self.remove(it));
        }
        self.tick += 1;
        self.bytes += bytes;
        self.entries.insert(id, Entry { answer: answer.clone(), bytes, used: self.tick, until });
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(id: i32, length: usize) -> Answer {
        let text = "x".repeat(length);
        Ok(Arc::new(Registered { id, text, references: Vec::new(), referenced: Vec::new() }))
    }

    fn unknown(id: i32) -> Answer {
        let what = format!("schema id {id}").into();
        Err(RegistryError::Unknown { end: "source", url: "http://r".into(), what, message: "".into() })
    }

    fn held(cache: &Cache) -> Vec<i32> {
        cache.entries.keys().copied().collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let (mut cache, now) = (Cache::new(3, 1_000), Instant::now());
        (1..=3).for_each(|id| cache.put(id, &schema(id, 10), now));
        assert!(cache.get(1, now).is_some());
        cache.put(4, &schema(4, 10), now);
        assert_eq!((held(&cache), cache.bytes), (vec![1, 3, 4], 30));
        cache.put(3, &schema(3, 20), now);
        assert_eq!((held(&cache), cache.bytes), (vec![1, 3, 4], 40));
    }

    #[test]
    fn bytes_are_bounded_and_one_that_is_too_large_is_held_alone() {
        let (mut cache, now) = (Cache::new(100, 100), Instant::now());
        (1..=3).for_each(|id| cache.put(id, &schema(id, 40), now));
        assert_eq!((held(&cache), cache.bytes), (vec![2, 3], 80));
        cache.put(4, &schema(4, 500), now);
        assert_eq!((held(&cache), cache.bytes), (vec![4], 500));
        cache.put(5, &schema(5, 1), now);
        assert_eq!((held(&cache), cache.bytes), (vec![5], 1));
    }

    #[test]
    fn what_is_not_there_is_believed_for_a_while() {
        let (mut cache, now) = (Cache::new(10, 100), Instant::now());
        cache.put(1, &unknown(1), now);
        assert_eq!(cache.get(1, now + NEGATIVE_TTL / 2), Some(unknown(1)));
        assert_eq!(cache.get(1, now + NEGATIVE_TTL), None);
        cache.put(1, &schema(1, 5), now);
        assert_eq!(cache.get(1, now + NEGATIVE_TTL * 1_000), Some(schema(1, 5)));
    }

    #[test]
    fn what_is_wrong_with_the_registry_is_not_kept() {
        let (mut cache, now) = (Cache::new(10, 100), Instant::now());
        let down = RegistryError::Unreachable { end: "source", url: "http://r".into(), reason: "is down".into() };
        cache.put(1, &Err(down), now);
        assert_eq!(cache.get(1, now), None);
    }

    #[test]
    fn hostile_ids_do_not_fill_it() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        (0..i32::try_from(IDS_MAX).unwrap() * 2).for_each(|id| cache.put(id, &unknown(id), now));
        assert_eq!(cache.entries.len(), IDS_MAX);
    }
}
