//! How Go names the types of fields. Names follow from the field, from what it is in, and from the schema.

use apimachinery::schema::{Schema, Type};

use super::Walk;

/// Fields of Kubernetes' own types.
const CORE: &[(&str, &str)] = &[
    ("metadata", "v1.ObjectMeta"),
    ("labels", "map[string]string"),
    ("annotations", "map[string]string"),
    ("ownerReferences", "[]v1.OwnerReference"),
    ("managedFields", "[]v1.ManagedFieldsEntry"),
    ("uid", "types.UID"),
    ("env", "[]v1.EnvVar"),
    ("envFrom", "[]v1.EnvFromSource"),
    ("valueFrom", "v1.EnvVarSource"),
    ("fieldRef", "v1.ObjectFieldSelector"),
    ("resourceFieldRef", "v1.ResourceFieldSelector"),
    ("configMapKeyRef", "v1.ConfigMapKeySelector"),
    ("secretKeyRef", "v1.SecretKeySelector"),
    ("configMapRef", "v1.ConfigMapEnvSource"),
    ("secretRef", "v1.SecretEnvSource"),
    ("volumeMounts", "[]v1.VolumeMount"),
    ("volumeDevices", "[]v1.VolumeDevice"),
    ("mountPropagation", "v1.MountPropagationMode"),
    ("volumes", "[]v1.Volume"),
    ("imagePullPolicy", "v1.PullPolicy"),
    ("restartPolicy", "v1.ContainerRestartPolicy"),
    ("computeResources", "v1.ResourceRequirements"),
    ("limits", "v1.ResourceList"),
    ("requests", "v1.ResourceList"),
    ("claims", "[]v1.ResourceClaim"),
    ("ports", "[]v1.ContainerPort"),
    ("protocol", "v1.Protocol"),
    ("livenessProbe", "v1.Probe"),
    ("readinessProbe", "v1.Probe"),
    ("startupProbe", "v1.Probe"),
    ("lifecycle", "v1.Lifecycle"),
    ("postStart", "v1.LifecycleHandler"),
    ("preStop", "v1.LifecycleHandler"),
    ("exec", "v1.ExecAction"),
    ("httpGet", "v1.HTTPGetAction"),
    ("httpHeaders", "[]v1.HTTPHeader"),
    ("scheme", "v1.URIScheme"),
    ("tcpSocket", "v1.TCPSocketAction"),
    ("grpc", "v1.GRPCAction"),
    ("terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("capabilities", "v1.Capabilities"),
    ("add", "[]v1.Capability"),
    ("drop", "[]v1.Capability"),
    ("seLinuxOptions", "v1.SELinuxOptions"),
    ("windowsOptions", "v1.WindowsSecurityContextOptions"),
    ("seccompProfile", "v1.SeccompProfile"),
    ("appArmorProfile", "v1.AppArmorProfile"),
    ("procMount", "v1.ProcMountType"),
    ("affinity", "v1.Affinity"),
    ("tolerations", "[]v1.Toleration"),
    ("nodeSelector", "map[string]string"),
    ("dnsPolicy", "v1.DNSPolicy"),
    ("dnsConfig", "v1.PodDNSConfig"),
    ("imagePullSecrets", "[]v1.LocalObjectReference"),
    ("hostAliases", "[]v1.HostAlias"),
    ("topologySpreadConstraints", "[]v1.TopologySpreadConstraint"),
    ("emptyDir", "v1.EmptyDirVolumeSource"),
    ("medium", "v1.StorageMedium"),
    ("secret", "v1.SecretVolumeSource"),
    ("configMap", "v1.ConfigMapVolumeSource"),
    ("projected", "v1.ProjectedVolumeSource"),
    ("sources", "[]v1.VolumeProjection"),
    ("items", "[]v1.KeyToPath"),
    ("csi", "v1.CSIVolumeSource"),
    ("nodePublishSecretRef", "v1.LocalObjectReference"),
    ("persistentVolumeClaim", "v1.PersistentVolumeClaimVolumeSource"),
    ("hostPath", "v1.HostPathVolumeSource"),
    ("volumeClaimTemplate", "v1.PersistentVolumeClaim"),
    ("accessModes", "[]v1.PersistentVolumeAccessMode"),
    ("conditions", "v1.Conditions"),
    ("podTemplate", "pod.Template"),
    ("taskPodTemplate", "pod.Template"),
    ("operator", "selection.Operator"),
];

/// Fields of Tekton's types; the version stands in front of the name.
const OWN: &[(&str, &str)] = &[
    ("taskRef", "TaskRef"),
    ("customRef", "TaskRef"),
    ("customSpec", "EmbeddedCustomRunSpec"),
    ("pipelineRef", "PipelineRef"),
    ("pipelineSpec", "PipelineSpec"),
    ("stepTemplate", "StepTemplate"),
    ("ref", "Ref"),
    ("stdoutConfig", "StepOutputConfig"),
    ("stderrConfig", "StepOutputConfig"),
    ("matrix", "Matrix"),
    ("include", "IncludeParamsList"),
    ("timeouts", "TimeoutFields"),
    ("taskRunTemplate", "PipelineTaskRunTemplate"),
    ("taskRunSpecs", "[]PipelineTaskRunSpec"),
    ("stepSpecs", "[]TaskRunStepSpec"),
    ("sidecarSpecs", "[]TaskRunSidecarSpec"),
    ("stepOverrides", "[]TaskRunStepOverride"),
    ("sidecarOverrides", "[]TaskRunSidecarOverride"),
    ("debug", "TaskRunDebug"),
    ("breakpoints", "TaskBreakpoints"),
    ("tasks", "[]PipelineTask"),
    ("finally", "[]PipelineTask"),
    ("when", "WhenExpressions"),
    ("whenExpressions", "[]WhenExpression"),
    ("properties", "map[string]PropertySpec"),
    ("resolver", "ResolverName"),
    ("statusMessage", "TaskRunSpecStatusMessage"),
    ("childReferences", "[]ChildStatusReference"),
    ("skippedTasks", "[]SkippedTask"),
    ("provenance", "Provenance"),
    ("retriesStatus", "[]TaskRunStatus"),
    ("authorities", "[]Authority"),
    ("key", "KeyRef"),
    ("mode", "ModeType"),
];

/// Go's name of the type at a place. `element` says that the place is an element of the list in the last field.
pub(super) fn name(schema: Schema, fields: &[&str], element: bool, walk: &Walk<'_>) -> String {
    let whole = match element {
        // The list's own name is not known from its element's schema; its field tells.
        true => of_list(schema, fields, walk),
        false => of_field(schema, fields, walk),
    };
    match element {
        true => whole.strip_prefix("[]").map_or(whole.clone(), str::to_owned),
        false => whole,
    }
}

/// The name of a list whose elements have `schema`.
fn of_list(schema: Schema, fields: &[&str], walk: &Walk<'_>) -> String {
    let field = fields.last().copied().unwrap_or("");
    match named(schema, field, fields, walk).or_else(|| listed(schema, field, fields, walk)) {
        // Named lists do not tell the name of their elements.
        Some(name) if name.ends_with("ParamSpecs") || name.ends_with("Params") => {
            format!("[]{}", name.trim_end_matches('s'))
        }
        Some(name) if name.ends_with("WhenExpressions") => format!("[]{}", name.trim_end_matches('s')),
        Some(name) if name.ends_with("IncludeParamsList") => format!("[]{}", name.trim_end_matches("List")),
        Some(name) => name,
        None => format!("[]{}", plain(schema)),
    }
}

fn of_field(schema: Schema, fields: &[&str], walk: &Walk<'_>) -> String {
    let field = fields.last().copied().unwrap_or("");
    if let Some(name) = named(schema, field, fields, walk) {
        return name;
    }
    if let Some(items) = schema.items() {
        return listed(items, field, fields, walk).unwrap_or_else(|| format!("[]{}", plain(items)));
    }
    if let Some(values) = schema.additional() {
        return format!("map[string]{}", plain(values));
    }
    plain(schema)
}

/// Names that depend on the field, and on what it is in.
fn named(schema: Schema, field: &str, fields: &[&str], walk: &Walk<'_>) -> Option<String> {
    let version = walk.version;
    let own = |name: &str| match name.strip_prefix("[]") {
        Some(name) => format!("[]{version}.{name}"),
        None => match name.strip_prefix("map[string]") {
            Some(name) => format!("map[string]{version}.{name}"),
            None => format!("{version}.{name}"),
        },
    };
    let inside = |what: &str| fields.iter().rev().nth(1).copied() == Some(what);
    let in_task = inside("tasks") || inside("finally");
    let name = match field {
        "spec" if fields.len() == 1 => own(&format!("{}Spec", walk.kind)),
        "status" if fields.len() == 1 => own(&format!("{}Status", walk.kind)),
        "status" if fields.len() == 2 && walk.kind.ends_with("Run") => {
            own(&format!("{}SpecStatus", walk.kind))
        }
        "taskSpec" if in_task => own("EmbeddedTask"),
        "taskSpec" => own("TaskSpec"),
        "metadata" if inside("taskRunSpecs") || inside("taskSpec") => own("PipelineTaskMetadata"),
        "onError" if in_task => own("PipelineTaskOnErrorType"),
        "onError" => own("OnErrorType"),
        "kind" if inside("taskRef") || inside("customRef") => own("TaskKind"),
        "type" if inside("params") || inside("properties") => own("ParamType"),
        "type" if inside("results") => own("ResultsType"),
        "securityContext"
            if inside("podTemplate") || inside("taskPodTemplate") || inside("taskRunTemplate") =>
        {
            "v1.PodSecurityContext".into()
        }
        "securityContext" => "v1.SecurityContext".into(),
        "resources" if schema.property("limits").is_some() => "v1.ResourceRequirements".into(),
        "resources" if walk.kind == "VerificationPolicy" => own("[]ResourcePattern"),
        _ => {
            let find = |table: &[(&str, &str)]| {
                table.iter().find(|(f, _)| *f == field).map(|(_, n)| (*n).to_owned())
            };
            return find(OWN).map(|n| own(&n)).or_else(|| find(CORE));
        }
    };
    Some(name)
}

/// Names of lists that share a field's name; what their elements have tells which it is.
fn listed(items: Schema, field: &str, fields: &[&str], walk: &Walk<'_>) -> Option<String> {
    let version = walk.version;
    let has = |property: &str| items.property(property).is_some();
    let in_status = fields.first() == Some(&"status")
        && !fields.contains(&"taskSpec")
        && !fields.contains(&"pipelineSpec");
    let name = match field {
        "steps" if in_status => "[]StepState",
        "steps" => "[]Step",
        "sidecars" if in_status => "[]SidecarState",
        "sidecars" => "[]Sidecar",
        "params" if has("properties") => "ParamSpecs",
        "params" => "Params",
        "workspaces" if has("emptyDir") => "[]WorkspaceBinding",
        "workspaces" if has("workspace") => "[]WorkspacePipelineTaskBinding",
        "workspaces" if has("readOnly") => "[]WorkspaceDeclaration",
        "workspaces" if has("mountPath") => "[]WorkspaceUsage",
        "workspaces" => "[]PipelineWorkspaceDeclaration",
        "results" if fields.contains(&"steps") && !in_status => return Some("[]v1.StepResult".into()),
        "results" if in_status && fields.contains(&"steps") => "[]TaskRunStepResult",
        "results" if in_status && walk.kind == "PipelineRun" => "[]PipelineRunResult",
        "results" if in_status => "[]TaskRunResult",
        "results" if has("properties") => "[]TaskResult",
        "results" => "[]PipelineResult",
        _ => return None,
    };
    Some(match name.strip_prefix("[]") {
        Some(name) => format!("[]{version}.{name}"),
        None => format!("{version}.{name}"),
    })
}

/// Names of types that have no name of their own.
fn plain(schema: Schema) -> String {
    let node = schema.node();
    match node.kind {
        Some(Type::String) | None => "string",
        Some(Type::Boolean) => "bool",
        Some(Type::Integer) => node.format.unwrap_or("int"),
        Some(Type::Number) => "float64",
        Some(Type::Object) => "map[string]string",
        Some(Type::Array) => "[]string",
    }
    .to_owned()
}
