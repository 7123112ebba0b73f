//! Kinds that are only asked and never stored: access reviews and token reviews.

use super::{Kind, Scope, Version, version};
use crate::names::NameRule;

pub(super) const KINDS: &[Kind] = &[
    review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    review("authentication.k8s.io", "TokenReview", "tokenreviews", "tokenreview"),
    Kind {
        scope: Scope::Namespaced,
        ..review(
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    review(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
    ),
    review("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
];

const VERSIONS: &[Version] = &[version("v1", &[])];

const fn review(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Kind {
    Kind {
        group,
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        versions: VERSIONS,
        verbs: &["create"],
        subresources: &[],
        fields: &[],
        names: NameRule::PathSegment,
        custom: false,
    }
}
