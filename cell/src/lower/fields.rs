//! What becomes of each field of a Pod's spec on a single-use machine. One table: it is also the table of
//! `docs/compatibility.md`.

use serde_json::{Map, Value};

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It means what it means in Kubernetes.
    Kept,
    /// It is looked at while lowering and is not needed afterwards.
    Lowered,
    /// It has no meaning here, and leaving it out changes nothing that a step could see.
    Ignored(&'static str),
    /// It cannot be granted; a Pod that asks for it does not run.
    Refused(&'static str),
}

pub(super) const TABLE: [(&str, Fate); 38] = [
    ("containers", Fate::Lowered),
    ("initContainers", Fate::Lowered),
    ("volumes", Fate::Lowered),
    ("activeDeadlineSeconds", Fate::Lowered),
    ("imagePullSecrets", Fate::Lowered),
    ("serviceAccountName", Fate::Lowered),
    ("serviceAccount", Fate::Lowered),
    ("restartPolicy", Fate::Kept),
    ("terminationGracePeriodSeconds", Fate::Kept),
    ("securityContext", Fate::Kept),
    ("hostAliases", Fate::Kept),
    ("hostname", Fate::Kept),
    ("subdomain", Fate::Kept),
    ("setHostnameAsFQDN", Fate::Kept),
    ("dnsPolicy", Fate::Kept),
    ("dnsConfig", Fate::Kept),
    ("shareProcessNamespace", Fate::Kept),
    ("os", Fate::Kept),
    ("automountServiceAccountToken", Fate::Ignored("there is no API server that a step could reach")),
    ("enableServiceLinks", Fate::Ignored("there are no services")),
    ("nodeSelector", Fate::Ignored("placement chooses the machine")),
    ("nodeName", Fate::Ignored("placement chooses the machine")),
    ("affinity", Fate::Ignored("a machine has one pod")),
    ("tolerations", Fate::Ignored("machines have no taints")),
    ("topologySpreadConstraints", Fate::Ignored("a machine has one pod")),
    ("schedulerName", Fate::Ignored("placement chooses the machine")),
    ("schedulingGates", Fate::Ignored("placement chooses the machine")),
    ("priority", Fate::Ignored("a machine has one pod")),
    ("priorityClassName", Fate::Ignored("a machine has one pod")),
    ("preemptionPolicy", Fate::Ignored("a machine has one pod")),
    ("runtimeClassName", Fate::Ignored("the machine is the isolation")),
    ("readinessGates", Fate::Ignored("nothing waits for a pod to be ready")),
    ("overhead", Fate::Ignored("a machine has one pod")),
    ("resources", Fate::Ignored("container resources choose the machine")),
    ("hostUsers", Fate::Ignored("the machine is the isolation")),
    ("hostNetwork", Fate::Refused("the machine's network is not open to steps")),
    ("hostPID", Fate::Refused("the machine's processes are not open to steps")),
    ("hostIPC", Fate::Refused("the machine's processes are not open to steps")),
];

/// The fate of a field; what the table doesn't know is left out.
pub(super) fn fate(field: &str) -> Fate {
    let known = TABLE.iter().find(|(name, _)| *name == field);
    known.map_or(Fate::Ignored("unknown here"), |(_, fate)| *fate)
}

/// Whether the Pod asks for something that cannot be granted; says what.
pub(super) fn check(pod: &Value) -> Result<(), String> {
    for (field, value) in pod["spec"].as_object().into_iter().flatten() {
        let asked = !(value.is_null() || *value == false);
        if let (true, Fate::Refused(why)) = (asked, fate(field)) {
            return Err(format!("{field} is not available: {why}"));
        }
    }
    match pod["spec"]["nodeSelector"]["kubernetes.io/os"].as_str() {
        None | Some("linux") => Ok(()),
        Some(os) => Err(format!("nodeSelector kubernetes.io/os: {os} is not available: machines run linux")),
    }
}

/// The fields that an agent needs.
pub(super) fn kept(spec: &Value) -> Map<String, Value> {
    let fields = spec.as_object().into_iter().flatten();
    let kept = fields.filter(|(field, _)| fate(field) == Fate::Kept);
    kept.map(|(field, value)| (field.clone(), value.clone())).collect()
}
