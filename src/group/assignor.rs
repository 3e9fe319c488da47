//! Who works which lane: balanced to one, and nothing moves that need not.
//!
//! A lane that somebody still works is given to nobody else in the same generation (KIP-429): whoever loses it ends it,
//! joins again, and only then it is handed out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a member said when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) lanes: BTreeSet<u32>,
    /// In which it was given them.
    pub(super) generation_id: i32,
    /// It leaves its lanes to those who can work them.
    pub(super) is_unfit: bool,
}

pub(super) fn assign(lanes: u32, claims: &BTreeMap<Arc<str>, Claim>) -> BTreeMap<Arc<str>, BTreeSet<u32>> {
    let mut assigned: BTreeMap<_, BTreeSet<u32>> = claims.keys().map(|id| (Arc::clone(id), BTreeSet::new())).collect();
    let is_any_fit = claims.values().any(|it| !it.is_unfit);
    let sharers = claims.iter().filter(|(_, it)| !is_any_fit || !it.is_unfit).map(|(id, _)| (id, Vec::new()));
    let mut owned: BTreeMap<&Arc<str>, Vec<u32>> = sharers.collect();
    let Ok(count) = u32::try_from(owned.len()) else { return assigned };
    if count == 0 {
        return assigned;
    }
    for (lane, owner) in &owners(lanes, claims) {
        if let Some(owned) = owned.get_mut(owner) {
            owned.push(*lane);
        }
    }
    // Who has most may keep one more.
    let mut order: Vec<_> = owned.into_iter().collect();
    order.sort_by_key(|(id, lanes)| (std::cmp::Reverse(lanes.len()), Arc::clone(id)));
    let (least, more) = ((lanes / count) as usize, (lanes % count) as usize);
    let quota = |position: usize| least + usize::from(position < more);
    let kept: Vec<_> =
        order.iter().enumerate().map(|(at, (id, lanes))| (*id, lanes[..lanes.len().min(quota(at))].to_vec())).collect();
    let taken: BTreeSet<u32> = kept.iter().flat_map(|(_, lanes)| lanes.iter().copied()).collect();
    let mut free = (0..lanes).filter(|lane| !taken.contains(lane));
    for (at, (id, kept)) in kept.into_iter().enumerate() {
        let room = quota(at) - kept.len();
        let given = free.by_ref().take(room);
        // Somebody else works it still: it is this one's by count, and is given to it in the next generation.
        let given = given.filter(|lane| claims.iter().all(|(other, it)| other == id || !it.lanes.contains(lane)));
        let all = kept.iter().copied().chain(given).collect();
        assigned.insert(Arc::clone(id), all);
    }
    assigned
}

/// Of several who say that they have a lane, the one of the highest generation: the others missed a round.
fn owners(lanes: u32, claims: &BTreeMap<Arc<str>, Claim>) -> BTreeMap<u32, &Arc<str>> {
    let mut owners: BTreeMap<u32, (&Arc<str>, i32)> = BTreeMap::new();
    for (id, claim) in claims {
        for lane in claim.lanes.range(..lanes) {
            match owners.get(lane) {
                Some((_, generation_id)) if *generation_id >= claim.generation_id => {}
                _ => drop(owners.insert(*lane, (id, claim.generation_id))),
            }
        }
    }
    owners.into_iter().map(|(lane, (id, _))| (lane, id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::config;
    use proptest::prelude::*;

    fn claims(of: &[(&str, &[u32], i32)]) -> BTreeMap<Arc<str>, Claim> {
        let claim = |lanes: &[u32], generation_id| Claim {
            lanes: lanes.iter().copied().collect(),
            generation_id,
            is_unfit: false,
        };
        of.iter().map(|(id, lanes, generation_id)| ((*id).into(), claim(lanes, *generation_id))).collect()
    }

    fn given(lanes: u32, of: &[(&str, &[u32], i32)]) -> Vec<Vec<u32>> {
        assign(lanes, &claims(of)).into_values().map(|it| it.into_iter().collect()).collect()
    }

    #[test]
    fn one_that_is_alone_works_all() {
        assert_eq!(given(4, &[("a", &[], -1)]), [[0, 1, 2, 3]]);
    }

    #[test]
    fn a_lane_moves_over_two_generations() {
        assert_eq!(given(4, &[("a", &[0, 1, 2, 3], 1), ("b", &[], -1)]), [vec![0, 1], vec![]]);
        assert_eq!(given(4, &[("a", &[0, 1], 2), ("b", &[], 2)]), [[0, 1], [2, 3]]);
    }

    #[test]
    fn what_is_left_goes_to_those_who_stay() {
        assert_eq!(given(6, &[("a", &[0, 1], 3), ("c", &[4, 5], 3)]), [[0, 1, 2], [3, 4, 5]]);
    }

    #[test]
    fn of_two_who_claim_a_lane_the_later_generation_has_it() {
        assert_eq!(given(2, &[("a", &[0, 1], 4), ("b", &[0, 1], 5)]), [vec![], vec![0]]);
    }

    #[test]
    fn more_members_than_lanes_leaves_spares() {
        assert_eq!(given(2, &[("a", &[], -1), ("b", &[1], 3), ("c", &[0], 3)]), [vec![], vec![1], vec![0]]);
    }

    #[test]
    fn one_that_cannot_work_leaves_its_lanes_to_the_others_as_long_as_there_are_any() {
        let mut of = claims(&[("a", &[0, 1], 4), ("b", &[2, 3], 4)]);
        let given = |of: &_| assign(4, of).into_values().map(Vec::from_iter).collect::<Vec<_>>();
        of.get_mut("b").unwrap().is_unfit = true;
        assert_eq!(given(&of), [vec![0, 1], vec![]]);
        of.get_mut("b").unwrap().lanes.clear();
        assert_eq!(given(&of), [vec![0, 1, 2, 3], vec![]]);
        // All alike: nothing moves.
        let mut of = claims(&[("a", &[0, 1], 4), ("b", &[2, 3], 4)]);
        of.values_mut().for_each(|it| it.is_unfit = true);
        assert_eq!(given(&of), [[0, 1], [2, 3]]);
    }

    proptest! {
        #![proptest_config(config(300))]

        #[test]
        fn shares_are_fair_safe_and_settle(
            lanes in 1_u32..40,
            seed in prop::collection::vec((prop::collection::btree_set(0_u32..40, 0..40), 1_i32..5, any::<bool>()), 1..6),
        ) {
            let named = seed.into_iter().enumerate();
            let mut claims: BTreeMap<Arc<str>, Claim> = named
                .map(|(at, (lanes, generation_id, is_unfit))| {
                    (format!("m{at}").into(), Claim { lanes, generation_id, is_unfit })
                })
                .collect();
            let unfit: BTreeSet<_> = claims.iter().filter(|(_, it)| it.is_unfit).map(|(id, _)| Arc::clone(id)).collect();
            let is_any_fit = unfit.len() < claims.len();
            for generation_id in 5..=7 {
                let before = claims.clone();
                let assigned = assign(lanes, &claims);
                let mut seen = BTreeSet::new();
                for (id, given) in &assigned {
                    for lane in given {
                        prop_assert!(*lane < lanes && seen.insert(*lane), "{} twice or not there", lane);
                        let others = before.iter().filter(|(other, it)| *other != id && it.lanes.contains(lane));
                        prop_assert!(before[id].lanes.contains(lane) || others.count() == 0, "{} is given away", lane);
                    }
                }
                let claim = |(id, lanes)| {
                    let is_unfit = unfit.contains(&id);
                    (id, Claim { lanes, generation_id, is_unfit })
                };
                claims = assigned.into_iter().map(claim).collect();
            }
            // Two rounds later everything has an owner, and a third moves nothing.
            let (idle, sharing): (Vec<_>, Vec<_>) = claims.values().partition(|it| is_any_fit && it.is_unfit);
            prop_assert!(idle.iter().all(|it| it.lanes.is_empty()));
            let sizes: Vec<_> = sharing.iter().map(|it| it.lanes.len()).collect();
            prop_assert_eq!(sizes.iter().sum::<usize>(), lanes as usize);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
            let again = assign(lanes, &claims);
            prop_assert!(again.iter().all(|(id, lanes)| claims[id].lanes == *lanes));
        }
    }
}
