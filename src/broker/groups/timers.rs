//! What a group does when nobody asks: sessions end, phases end, offsets expire.

use super::{Group, GroupState, JoinDue, Reply};
use crate::broker::settings::Millis;

/// The coordinator's settings that timers need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupTimes {
    pub(crate) now_ms: Millis,
    pub(crate) initial_delay_ms: Millis,
}

impl Group {
    pub(crate) fn next_due(&self) -> Option<Millis> {
        let sessions = self.members.values().filter_map(super::Member::expires);
        let pending = self.pending_members.values().copied();
        let join = self.join_due.map(|it| match it {
            JoinDue::Initial { at_ms, .. } | JoinDue::At(at_ms) => at_ms,
        });
        sessions.chain(pending).chain(join).chain(self.sync_due_ms).min()
    }

    pub(crate) fn run(&mut self, times: GroupTimes) -> Vec<Reply> {
        let GroupTimes { now_ms, initial_delay_ms } = times;
        let mut replies = self.expire_members(times);
        match self.join_due {
            Some(JoinDue::Initial { at_ms, delay_ms, remaining_ms }) if at_ms <= now_ms => {
                if self.new_member_added && remaining_ms > 0 {
                    self.new_member_added = false;
                    let next_ms = initial_delay_ms.min(remaining_ms);
                    let remaining_ms = (remaining_ms - delay_ms).max(0);
                    self.join_due = Some(JoinDue::Initial { at_ms: now_ms + next_ms, delay_ms: next_ms, remaining_ms });
                } else {
                    replies.extend(self.complete_join(now_ms));
                }
            }
            Some(JoinDue::At(at_ms)) if at_ms <= now_ms => replies.extend(self.complete_join(now_ms)),
            _ => {}
        }
        if self.sync_due_ms.is_some_and(|it| it <= now_ms) {
            self.sync_due_ms = None;
            let late: Vec<String> = self.pending_syncs.iter().cloned().collect();
            if matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) && !late.is_empty() {
                for id in late {
                    self.throw_out(&id, &mut replies);
                }
                replies.extend(self.prepare_rebalance(now_ms, initial_delay_ms));
            }
        }
        replies
    }

    fn expire_members(&mut self, times: GroupTimes) -> Vec<Reply> {
        let GroupTimes { now_ms, initial_delay_ms } = times;
        let mut replies = Vec::new();
        let before = self.pending_members.len();
        self.pending_members.retain(|_, until_ms| *until_ms > now_ms);
        if self.pending_members.len() < before {
            replies.extend(self.complete_join_if_all(now_ms));
        }
        let is_over = |it: &super::Member| it.expires().is_some_and(|at| at <= now_ms);
        let gone: Vec<String> = self.members.iter().filter(|(_, it)| is_over(it)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.throw_out(&id, &mut replies);
            replies.extend(self.member_gone(now_ms, initial_delay_ms));
        }
        replies
    }

    /// Another node coordinates now. It has read members and generation from the log, and knows of nobody who waits.
    pub(crate) fn reloaded(&mut self, now_ms: Millis) {
        for member in self.members.values_mut() {
            (member.joining, member.syncing, member.is_new) = (None, None, false);
            member.expires_ms = now_ms + Millis::from(member.session_timeout_ms);
        }
        self.pending_members.clear();
        self.sync_due_ms = None;
        if matches!(self.state, GroupState::PreparingRebalance | GroupState::CompletingRebalance) {
            self.state = GroupState::PreparingRebalance;
            self.pending_syncs.clear();
            self.join_due = Some(JoinDue::At(now_ms + self.rebalance_timeout_ms()));
        }
    }

    /// Kafka's rules of `offsets.retention.minutes` (ClassicGroup.offsetExpirationCondition).
    pub(crate) fn expire_offsets(&mut self, now_ms: Millis, retention_ms: Millis) {
        let deadline_ms = now_ms - retention_ms;
        match (self.state, self.protocol_type.is_some()) {
            (GroupState::Empty, true) if self.empty_since_ms <= deadline_ms => self.offsets.expire(|_| true),
            (GroupState::Empty, false) => self.offsets.expire(|it| it.commit_ms <= deadline_ms),
            _ => {}
        }
    }
}

impl super::Member {
    /// Who waits for the group is alive, unless it never had an answer.
    fn expires(&self) -> Option<Millis> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.expires_ms)
    }
}
