//! The Pod's status as a kubelet would give it, from what happened to its containers. Pure.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// State of one container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not started, and why not.
    Waiting {
        /// `PodInitializing`, `ImagePullBackOff`, …
        reason: String,
        /// In words.
        message: String,
    },
    /// Since when, µs since 1970.
    Running(i64),
    /// Ended.
    Terminated(End),
}

/// How a container ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: &'static str,
    /// Termination message.
    pub message: String,
    /// µs since 1970; 0 when it never ran.
    pub started: i64,
    /// µs since 1970.
    pub finished: i64,
}

/// What a container is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// An init container whose work the agent has done.
    DoneByAgent,
    /// Runs to its end before the next one begins.
    Init,
    /// Runs beside all others, and is started before them.
    NativeSidecar,
    /// One of the Pod's containers.
    Main,
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// As the Pod names it.
    pub image: String,
    /// `repository@digest`, when known.
    pub image_id: String,
    /// What it is for.
    pub role: Role,
    /// What it does.
    pub state: State,
    /// Its probes, if any, have been passed.
    pub ready: bool,
    /// How often it was started again.
    pub restarts: i32,
    /// How it ended the last time, if it was started again.
    pub last: Option<End>,
}

/// A pod's containers, in the Pod's order, init containers first.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// The containers.
    pub all: Vec<Member>,
    /// When the agent took the pod up, µs since 1970.
    pub begun: i64,
    /// Address inside its network.
    pub ip: Option<String>,
    /// It was stopped: what waits will never run.
    pub stopped: bool,
}

impl State {
    /// A waiting state.
    pub fn waiting(reason: &str, message: impl Into<String>) -> Self {
        Self::Waiting { reason: reason.to_owned(), message: message.into() }
    }

    /// Whether it has ended.
    pub fn ended(&self) -> bool {
        matches!(self, Self::Terminated(_))
    }

    /// Whether it has ended well.
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Terminated(end) if end.code == 0)
    }
}

impl Members {
    /// The members of `pod`. `done` names the init containers whose work the agent does.
    pub fn of(pod: &Pod, done: &[String], now: i64) -> Self {
        let end = |name: &String| Member {
            name: name.clone(),
            image: String::new(),
            image_id: String::new(),
            role: Role::DoneByAgent,
            state: State::Terminated(End {
                code: 0,
                reason: "Completed",
                message: String::new(),
                started: now,
                finished: now,
            }),
            ready: true,
            restarts: 0,
            last: None,
        };
        let one = |container: &Container, role: Role| Member {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            image_id: String::new(),
            role,
            state: State::waiting("PodInitializing", ""),
            ready: false,
            restarts: 0,
            last: None,
        };
        let mut all: Vec<Member> = done.iter().map(end).collect();
        if let Some(spec) = &pod.spec {
            for container in spec.init_containers.iter().flatten() {
                let sidecar = container.restart_policy.as_deref() == Some("Always");
                all.push(one(container, if sidecar { Role::NativeSidecar } else { Role::Init }));
            }
            all.extend(spec.containers.iter().map(|c| one(c, Role::Main)));
        }
        Self { all, begun: now, ip: None, stopped: false }
    }

    /// The member of this name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Member> {
        self.all.iter_mut().find(|m| m.name == name)
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.all.iter().find(|m| m.name == name)
    }

    fn mains(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().filter(|m| m.role == Role::Main)
    }

    /// An init container has failed: nothing after it will run.
    pub fn init_failed(&self) -> bool {
        let mut inits = self.all.iter().filter(|m| m.role == Role::Init);
        inits.any(|m| m.state.ended() && !m.state.succeeded())
    }

    /// The Pod's own containers have all ended: only native sidecars may be left.
    pub fn mains_ended(&self) -> bool {
        self.init_failed() || self.mains().all(|m| m.state.ended())
    }

    /// Nothing runs and nothing will.
    pub fn ended(&self) -> bool {
        let running = self.all.iter().any(|m| matches!(m.state, State::Running(_)));
        // Without members there is no pod yet.
        !self.all.is_empty() && !running && (self.stopped || self.mains_ended())
    }

    fn phase(&self) -> &'static str {
        let failed = self.init_failed()
            || self.stopped
            || self.mains().any(|m| m.state.ended() && !m.state.succeeded());
        let begun = self.mains().any(|m| !matches!(m.state, State::Waiting { .. }));
        match (self.ended(), begun) {
            (true, _) if self.mains().all(|m| m.state.succeeded()) => "Succeeded",
            (true, _) if failed => "Failed",
            (true, _) => "Succeeded",
            (false, true) => "Running",
            (false, false) => "Pending",
        }
    }

    /// The status.
    pub fn status(&self) -> PodStatus {
        let phase = self.phase();
        let initialized = !self.all.iter().any(|m| match m.role {
            Role::Init => !m.state.succeeded(),
            Role::NativeSidecar => matches!(m.state, State::Waiting { .. }) && m.restarts == 0,
            Role::DoneByAgent | Role::Main => false,
        });
        let ready = phase == "Running" && self.mains().all(|m| m.ready);
        let condition = |kind: &str, is: bool| PodCondition {
            type_: kind.to_owned(),
            status: if is { "True" } else { "False" }.to_owned(),
            reason: (!is && phase == "Succeeded").then(|| "PodCompleted".to_owned()),
            last_transition_time: Some(time(self.begun)),
            ..PodCondition::default()
        };
        let inits: Vec<_> = self.all.iter().filter(|m| m.role != Role::Main).map(Member::status).collect();
        PodStatus {
            phase: Some(phase.to_owned()),
            start_time: Some(time(self.begun)),
            pod_ip: self.ip.clone(),
            pod_ips: self.ip.clone().map(|ip| vec![PodIP { ip }]),
            conditions: Some(vec![
                condition("PodScheduled", true),
                condition("Initialized", initialized),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ]),
            init_container_statuses: (!inits.is_empty()).then_some(inits),
            container_statuses: Some(self.mains().map(Member::status).collect()),
            ..PodStatus::default()
        }
    }
}

impl Member {
    fn status(&self) -> ContainerStatus {
        let mut state = ContainerState::default();
        let present = |text: &String| (!text.is_empty()).then(|| text.clone());
        match &self.state {
            State::Waiting { reason, message } => {
                state.waiting =
                    Some(ContainerStateWaiting { reason: Some(reason.clone()), message: present(message) });
            }
            State::Running(since) => {
                state.running = Some(ContainerStateRunning { started_at: Some(time(*since)) });
            }
            State::Terminated(end) => state.terminated = Some(terminated(end)),
        }
        let last_state = self
            .last
            .as_ref()
            .map(|end| ContainerState { terminated: Some(terminated(end)), ..ContainerState::default() });
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            ready: match self.role {
                Role::DoneByAgent | Role::Init => self.state.succeeded(),
                Role::NativeSidecar | Role::Main => self.ready && state.running.is_some(),
            },
            started: Some(state.running.is_some()),
            restart_count: self.restarts,
            state: Some(state),
            last_state,
            ..ContainerStatus::default()
        }
    }
}

fn terminated(end: &End) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: end.code,
        reason: Some(end.reason.to_owned()),
        message: (!end.message.is_empty()).then(|| end.message.clone()),
        started_at: Some(time(end.started)),
        finished_at: Some(time(end.finished)),
        ..ContainerStateTerminated::default()
    }
}

fn time(us: i64) -> Time {
    Time(Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests;
