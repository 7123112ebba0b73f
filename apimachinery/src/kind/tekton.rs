//! The kinds of Tekton Pipelines v1.15.

use super::{AGE, Cell, Column, Kind, NAME, STATUS, Scope, Version, column, date, version};
use crate::names::NameRule;

const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const CATEGORIES: &[&str] = &["tekton", "tekton-pipelines"];
const PLAIN: &[Column] = &[NAME, AGE];
const RUN: &[Column] = &[
    NAME,
    column("Succeeded", Cell::Succeeded("status")),
    column("Reason", Cell::Succeeded("reason")),
    date("StartTime", Cell::Age(&["/status/startTime"])),
    date("CompletionTime", Cell::Age(&["/status/completionTime"])),
];
const REQUEST: &[Column] = &[
    NAME,
    column("OwnerKind", Cell::At("/metadata/ownerReferences/0/kind")),
    column("Owner", Cell::At("/metadata/ownerReferences/0/name")),
    column("Succeeded", Cell::Succeeded("status")),
    column("Reason", Cell::Succeeded("reason")),
    column("StartTime", Cell::At("/metadata/creationTimestamp")),
    column("EndTime", Cell::Succeeded("lastTransitionTime")),
];
const OLD_REQUEST: &[Column] =
    &[NAME, column("Succeeded", Cell::Succeeded("status")), column("Reason", Cell::Succeeded("reason"))];

pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "Task",
        plural: "tasks",
        singular: "task",
        versions: &[version("v1", PLAIN), version("v1beta1", PLAIN)],
        ..TEKTON
    },
    Kind {
        kind: "TaskRun",
        plural: "taskruns",
        singular: "taskrun",
        short_names: &["tr", "trs"],
        versions: &[version("v1", RUN), version("v1beta1", RUN)],
        ..TEKTON
    },
    Kind {
        kind: "Pipeline",
        plural: "pipelines",
        singular: "pipeline",
        versions: &[version("v1", PLAIN), version("v1beta1", PLAIN)],
        ..TEKTON
    },
    Kind {
        kind: "PipelineRun",
        plural: "pipelineruns",
        singular: "pipelinerun",
        short_names: &["pr", "prs"],
        versions: &[version("v1", RUN), version("v1beta1", RUN)],
        ..TEKTON
    },
    Kind {
        kind: "CustomRun",
        plural: "customruns",
        singular: "customrun",
        versions: &[version("v1beta1", RUN)],
        ..TEKTON
    },
    Kind {
        kind: "StepAction",
        plural: "stepactions",
        singular: "stepaction",
        versions: &[version("v1beta1", PLAIN), version("v1alpha1", PLAIN)],
        ..TEKTON
    },
    Kind {
        kind: "VerificationPolicy",
        plural: "verificationpolicies",
        singular: "verificationpolicy",
        versions: &[version("v1alpha1", PLAIN)],
        subresources: &[],
        ..TEKTON
    },
    Kind {
        group: "resolution.tekton.dev",
        kind: "ResolutionRequest",
        plural: "resolutionrequests",
        singular: "resolutionrequest",
        versions: &[
            version("v1beta1", REQUEST),
            Version {
                name: "v1alpha1",
                served: true,
                deprecation: Some("resolution.tekton.dev/v1alpha1 ResolutionRequest is deprecated"),
                columns: OLD_REQUEST,
            },
        ],
        ..TEKTON
    },
];

/// What all of them share.
const TEKTON: Kind = Kind {
    group: "tekton.dev",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: CATEGORIES,
    scope: Scope::Namespaced,
    versions: &[],
    verbs: VERBS,
    subresources: &[STATUS],
    fields: &[],
    names: NameRule::Subdomain,
    custom: true,
};
