//! Several members against the model, under lost answers, deaths, pauses and late starts.

use super::message::{Answer, Event, Failure, Fitness, GroupRequest, Input, Output};
use super::model::{Caller, Coordinator};
use super::{Member, MemberSettings};
use crate::testing::config;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LANES: u32 = 7;
const PROCESSES_MAX: usize = 12;
const SESSION: Duration = Duration::from_secs(6);

struct Process {
    member: Member,
    works: BTreeSet<u32>,
    ending: BTreeSet<u32>,
    generation_id: i32,
    instance_id: Option<Arc<str>>,
    fitness: Fitness,
    is_dead: bool,
    is_superseded: bool,
}

struct World {
    now: Instant,
    group: Coordinator,
    processes: Vec<Process>,
    requests: Vec<(Caller, GroupRequest)>,
    answers: Vec<(Caller, Result<Answer, Failure>)>,
    /// Generation and lane → who was given it: the process, or the instance that several processes are in turn.
    given: BTreeMap<(i32, u32), Arc<str>>,
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
        self.start_as(at.is_multiple_of(2).then(|| format!("i{at}").into()));
    }

    fn start_as(&mut self, instance_id: Option<Arc<str>>) {
        let at = self.processes.len();
        let settings = MemberSettings {
            group_id: "l".into(),
            topic: "l.ledger".into(),
            lanes: LANES,
            instance_id: instance_id.clone(),
            session_timeout: SESSION,
            rebalance_timeout: Duration::from_secs(10),
        };
        let member = Member::new(settings, self.now);
        let (works, ending) = (BTreeSet::new(), BTreeSet::new());
        let (is_dead, is_superseded) = (false, false);
        let (generation_id, fitness) = (-1, Fitness::Fit);
        self.processes.push(Process {
            member,
            works,
            ending,
            generation_id,
            instance_id,
            fitness,
            is_dead,
            is_superseded,
        });
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
                let who = process.instance_id.clone().unwrap_or_else(|| at.to_string().into());
                for lane in lanes {
                    process.works.insert(lane);
                    if *self.given.entry((generation_id, lane)).or_insert_with(|| Arc::clone(&who)) != who {
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
            Event::Superseded => {
                let own = process.instance_id.clone();
                process.is_superseded = true;
                self.kill(at);
                if own.is_none() || self.processes.iter().all(|it| it.is_superseded || it.instance_id != own) {
                    self.broken = Some(format!("{at} gave way to nobody"));
                }
            }
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

    fn kill(&mut self, at: usize) {
        self.processes[at].is_dead = true;
        self.processes[at].works.clear();
        self.processes[at].ending.clear();
        self.group.disconnected(at);
    }

    /// A process dies, and comes back at once under its instance id; or the newer is started while the older still runs.
    fn again(&mut self, at: usize, is_killed: bool) {
        let instance_id = self.processes[at].instance_id.clone();
        let is_newest = self.processes[at + 1..].iter().all(|it| it.instance_id != instance_id);
        if instance_id.is_some() && is_newest && self.processes.len() < PROCESSES_MAX {
            if is_killed {
                self.kill(at);
            }
            self.start_as(instance_id);
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
                self.kill(pick % all);
            }
            153 => self.pass(SESSION),
            154 | 155 => self.again(pick % all, choice == 154),
            156..200 => self.end_one(pick % all),
            200..=203 => self.input(pick % all, Input::Doubt),
            204 => self.feel(pick % all, Fitness::Unfit),
            205 => self.feel(pick % all, Fitness::Recovering),
            206 => self.feel(pick % all, Fitness::Failing),
            207 => self.feel(pick % all, Fitness::Fit),
            _ => self.pass(Duration::from_millis(50)),
        }
    }

    fn feel(&mut self, at: usize, fitness: Fitness) {
        self.processes[at].fitness = fitness;
        self.input(at, Input::Fitness(fitness));
    }

    fn calm(&mut self) {
        for at in 0..self.processes.len() {
            if matches!(self.processes[at].fitness, Fitness::Failing | Fitness::Recovering) {
                self.feel(at, Fitness::Fit);
            }
        }
        self.quiet();
    }

    fn quiet(&mut self) {
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
        let (fit, unfit): (Vec<&Process>, Vec<&Process>) = live.iter().partition(|it| it.fitness == Fitness::Fit);
        let sharing = if fit.is_empty() { &unfit } else { &fit };
        let sizes: Vec<_> = sharing.iter().map(|it| it.works.len()).collect();
        if all.len() != LANES as usize || all.iter().collect::<BTreeSet<_>>().len() != LANES as usize {
            return Err(format!("when all is calm: {:?}", live.iter().map(|it| &it.works).collect::<Vec<_>>()));
        }
        if !fit.is_empty() && unfit.iter().any(|it| !it.works.is_empty()) {
            return Err("one that cannot work has lanes".to_owned());
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
    // The older gave way, and the newer was killed: whoever watches over it starts another one.
    if world.processes.iter().all(|it| it.is_dead) {
        world.start_as(None);
        world.calm();
    }
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
        world.event(at, Event::Assigned { lanes: BTreeSet::from([3]), generation_id: 1, round: None });
    }
    assert!(world.verdict().is_err_and(|it| it.contains("two owners")));
}

/// One that slept through its session has no claim on the instance id that a newer process has taken meanwhile.
#[test]
fn the_newer_of_an_instance_stays_when_the_older_wakes_up() {
    let mut world = World::new();
    world.start_as(Some("same".into()));
    world.calm();
    assert_eq!(world.verdict(), Ok(()));
    world.now += SESSION + Duration::from_secs(1);
    world.start_as(Some("same".into()));
    while let Some(at) = world.requests.iter().position(|((process, _), _)| *process == 1) {
        world.deliver(at);
        while !world.answers.is_empty() {
            world.answer(0);
        }
    }
    assert_eq!(world.processes[1].works.len(), LANES as usize);
    world.calm();
    assert!(world.processes[0].is_superseded && !world.processes[1].is_superseded);
    assert_eq!(world.verdict(), Ok(()));
}

/// A static member that comes back gets its assignment without a new round (KIP-345): what it was to give back when it died
/// would belong to nobody.
#[test]
fn what_a_restarted_member_was_giving_back_is_handed_out() {
    let mut world = World::new();
    world.start_as(Some("one".into()));
    world.calm();
    world.start_as(Some("two".into()));
    while world.processes[0].ending.is_empty() {
        if !world.requests.is_empty() {
            world.deliver(0);
        } else if !world.answers.is_empty() {
            world.answer(0);
        } else {
            world.pass(Duration::from_millis(100));
        }
    }
    world.again(0, true);
    world.calm();
    assert_eq!(world.verdict(), Ok(()));
}

/// Who cannot work gives all it has; and where nobody can, lanes that stay are not passed around.
#[test]
fn lanes_go_to_whoever_can_work_them() {
    let mut world = World::new();
    world.start();
    world.start();
    world.calm();
    world.feel(1, Fitness::Unfit);
    world.calm();
    assert_eq!((world.processes[0].works.len(), world.processes[1].works.len()), (LANES as usize, 0));
    world.feel(0, Fitness::Unfit);
    world.calm();
    let before = world.processes[0].works.clone();
    // What befalls both befalls one of them first.
    for at in [0, 1] {
        world.feel(at, Fitness::Fit);
        world.feel(at, Fitness::Failing);
    }
    world.feel(0, Fitness::Unfit);
    world.quiet();
    assert_eq!(world.processes[0].works, before);
    world.feel(1, Fitness::Unfit);
    world.calm();
    assert_eq!(world.processes[0].works, before);
    let (works, generation_id) = (world.processes[0].works.clone(), world.group.generation_id);
    assert_eq!(world.verdict(), Ok(()));
    // Both are back: whoever has its share asks for nothing that moves it.
    for at in [0, 1] {
        world.feel(at, Fitness::Recovering);
    }
    world.pass(SESSION / 2);
    assert_eq!(world.group.generation_id, generation_id);
    world.calm();
    assert_eq!((&world.processes[0].works, world.verdict()), (&works, Ok(())));
}

/// A static member that comes back is given what its former self was (KIP-345): nothing, if that could not work.
#[test]
fn a_restart_ends_what_the_former_self_could_not() {
    let mut world = World::new();
    world.start_as(Some("one".into()));
    world.start_as(Some("two".into()));
    world.calm();
    world.feel(1, Fitness::Unfit);
    world.calm();
    assert!(world.processes[1].works.is_empty());
    world.again(1, true);
    world.calm();
    assert_eq!(world.verdict(), Ok(()));
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
