//! Several members against the model, under lost answers, deaths, pauses and late starts.

use super::message::{Answer, Event, Failure, GroupRequest, Input, Output};
use super::model::{Caller, Coordinator};
use super::{Member, MemberSettings};
use crate::testing::config;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const LANES: u32 = 7;
const SESSION: Duration = Duration::from_secs(6);

struct Process {
    member: Member,
    works: BTreeSet<u32>,
    ending: BTreeSet<u32>,
    generation_id: i32,
    is_dead: bool,
}

struct World {
    now: Instant,
    group: Coordinator,
    processes: Vec<Process>,
    requests: Vec<(Caller, GroupRequest)>,
    answers: Vec<(Caller, Result<Answer, Failure>)>,
    /// Generation and lane → who was given it.
    given: BTreeMap<(i32, u32), usize>,
    lost: u32,
    broken: Option<String>,
}

impl World {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            group: Coordinator::new(SESSION),
            processes: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            given: BTreeMap::new(),
            lost: 0,
            broken: None,
        }
    }

    fn start(&mut self) {
        let at = self.processes.len();
        let settings = MemberSettings {
            group_id: "l".into(),
            topic: "l.ledger".into(),
            lanes: LANES,
            instance_id: at.is_multiple_of(2).then(|| format!("i{at}").into()),
            session_timeout: SESSION,
            rebalance_timeout: Duration::from_secs(10),
        };
        let member = Member::new(settings, self.now);
        let (works, ending) = (BTreeSet::new(), BTreeSet::new());
        self.processes.push(Process { member, works, ending, generation_id: -1, is_dead: false });
        self.input(at, Input::Join);
    }

    fn input(&mut self, at: usize, input: Input) {
        let process = &mut self.processes[at];
        if process.is_dead {
            return;
        }
        process.member.handle(self.now, input);
        while let Some(output) = self.processes[at].member.poll_output() {
            match output {
                Output::Send { id, request } => self.requests.push(((at, id), request)),
                // What is still under way on the old connection is not answered any more.
                Output::Reconnect(channel) => {
                    self.requests.retain(|((of, _), request)| *of != at || request.channel() != channel);
                }
                Output::Event(event) => self.event(at, event),
            }
        }
    }

    fn event(&mut self, at: usize, event: Event) {
        let process = &mut self.processes[at];
        match event {
            Event::Entered(it) => process.generation_id = it.generation_id,
            Event::Assigned { lanes, generation_id, .. } => {
                for lane in lanes {
                    process.works.insert(lane);
                    if *self.given.entry((generation_id, lane)).or_insert(at) != at {
                        self.broken = Some(format!("lane {lane} has two owners in generation {generation_id}"));
                    }
                }
            }
            Event::Revoke(lanes) => process.ending.extend(lanes),
            Event::Lost { .. } => {
                self.lost += 1;
                process.works.clear();
                process.ending.clear();
            }
            Event::Confirmed => {}
            other => self.broken = Some(format!("{at}: {other:?}")),
        }
    }

    fn deliver(&mut self, at: usize) {
        let (caller, request) = self.requests.remove(at);
        if self.processes[caller.0].is_dead {
            return;
        }
        let answers = self.group.handle(self.now, caller, &request);
        self.answers.extend(answers.into_iter().map(|(caller, it)| (caller, Ok(it))));
    }

    fn answer(&mut self, at: usize) {
        let ((process, id), answer) = self.answers.remove(at);
        self.input(process, Input::Answered { id, answer });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let late = self.group.expire(self.now);
        self.answers.extend(late.into_iter().map(|(caller, it)| (caller, Ok(it))));
        for at in 0..self.processes.len() {
            self.input(at, Input::Timeout);
        }
    }

    fn end_one(&mut self, at: usize) {
        if let Some(lane) = self.processes[at].ending.pop_first() {
            self.processes[at].works.remove(&lane);
            self.input(at, Input::Ended(lane));
        }
    }

    fn step(&mut self, choice: u8, pick: usize) {
        let (requests, answers, all) = (self.requests.len(), self.answers.len(), self.processes.len());
        match choice {
            0..70 if requests > 0 => self.deliver(pick % requests),
            70..140 if answers > 0 => self.answer(pick % answers),
            140..144 if answers > 0 => self.answers[pick % answers].1 = Err(Failure),
            144..148 if requests > 0 => {
                let (caller, _) = self.requests.remove(pick % requests);
                self.answers.push((caller, Err(Failure)));
            }
            150..152 if all < 5 => self.start(),
            152 if self.processes.iter().filter(|it| !it.is_dead).count() > 1 => {
                let at = pick % all;
                self.processes[at].is_dead = true;
                self.processes[at].works.clear();
                self.group.disconnected(at);
            }
            153 => self.pass(SESSION),
            154..200 => self.end_one(pick % all),
            200..=203 => self.input(pick % all, Input::Doubt),
            _ => self.pass(Duration::from_millis(50)),
        }
    }

    fn calm(&mut self) {
        for _ in 0..800 {
            while !self.requests.is_empty() || !self.answers.is_empty() {
                while !self.requests.is_empty() {
                    self.deliver(0);
                }
                while !self.answers.is_empty() {
                    self.answer(0);
                }
                for at in 0..self.processes.len() {
                    while !self.processes[at].ending.is_empty() {
                        self.end_one(at);
                    }
                }
            }
            self.pass(Duration::from_millis(100));
        }
    }

    fn verdict(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let live: Vec<_> = self.processes.iter().filter(|it| !it.is_dead).collect();
        let all: Vec<u32> = live.iter().flat_map(|it| it.works.iter().copied()).collect();
        let sizes: Vec<_> = live.iter().map(|it| it.works.len()).collect();
        if all.len() != LANES as usize || all.iter().collect::<BTreeSet<_>>().len() != LANES as usize {
            return Err(format!("when all is calm: {:?}", live.iter().map(|it| &it.works).collect::<Vec<_>>()));
        }
        if sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0) > 1 {
            return Err(format!("not balanced: {sizes:?}"));
        }
        let of_old = live.iter().find(|it| it.generation_id != self.group.generation_id);
        of_old.map_or(Ok(()), |it| Err(format!("one is left in generation {}", it.generation_id)))
    }
}

fn run(choices: &[(u8, u16)]) -> World {
    let mut world = World::new();
    world.start();
    for (choice, pick) in choices {
        world.step(*choice, usize::from(*pick));
    }
    world.calm();
    world
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn every_lane_has_one_owner_when_things_calm_down(choices in prop::collection::vec(any::<(u8, u16)>(), 0..600)) {
        let world = run(&choices);
        prop_assert_eq!(world.verdict(), Ok(()));
    }
}

/// The checker's own proof.
#[test]
fn a_lane_with_two_owners_is_seen() {
    let mut world = World::new();
    world.start();
    world.start();
    for at in 0..2 {
        world.event(at, Event::Assigned { lanes: BTreeSet::from([3]), generation_id: 1, members: None });
    }
    assert!(world.verdict().is_err_and(|it| it.contains("two owners")));
}

/// The control: the choices are rich enough that sessions end and lanes move.
#[test]
fn sessions_end_and_lanes_move() {
    let (mut lost, mut generations) = (0, 0);
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let choices: Vec<_> = (0..600).map(|_| (random.u8(..), random.u16(..))).collect();
        let world = run(&choices);
        assert_eq!(world.verdict(), Ok(()), "seed {seed}");
        lost += world.lost;
        generations += world.group.generation_id;
    }
    assert!(lost > 10 && generations > 100, "{lost} sessions ended, {generations} generations");
}
