//! Who may do what: OpenShift's image roles, and the question the integrated registry asks.

use k8s_openapi::api::{authorization::v1::SubjectAccessReview, rbac::v1::ClusterRole};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use super::Cluster;
use crate::wait::eventually;

const IMAGE_GROUPS: [&str; 2] = ["", "image.openshift.io"];

/// The names of OpenShift's image roles.
pub const IMAGE_ROLES: [&str; 3] = ["system:image-puller", "system:image-pusher", "system:image-builder"];

/// Somebody whose access is asked about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A service account, by namespace and name.
    ServiceAccount(String, String),
    /// A user without groups.
    User(String),
    /// Some user in a group.
    Member(String),
}

/// What is asked for in a project; what the roles differ by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ability {
    /// `get imagestreams/layers`.
    pub pull: bool,
    /// `update imagestreams/layers`.
    pub push: bool,
    /// `create imagestreams`.
    pub build: bool,
}

impl Ability {
    /// What nobody has been granted.
    pub const NONE: Self = Self { pull: false, push: false, build: false };
    /// What a puller may.
    pub const PULL: Self = Self { pull: true, ..Self::NONE };
    /// What a pusher may.
    pub const PUSH: Self = Self { push: true, ..Self::PULL };
    /// What a builder may.
    pub const BUILD: Self = Self { build: true, ..Self::PUSH };
}

impl Cluster {
    /// Makes one of OpenShift's image roles, with the rules it has there.
    pub async fn create_image_role(&self, name: &str) {
        let role = json!({"metadata": {"name": name}, "rules": rules(name)});
        let role: ClusterRole = serde_json::from_value(role).expect("a role");
        let roles: Api<ClusterRole> = Api::all(self.client());
        roles.create(&PostParams::default(), &role).await.expect("it can be created");
    }

    /// What `subject` may do with the images of `project`, as the API server says. Both ways of writing the resource
    /// must get the same answer.
    pub async fn ability(&self, subject: &Subject, project: &str) -> Ability {
        Ability {
            pull: self.may_layers(subject, project, "get").await,
            push: self.may_layers(subject, project, "update").await,
            build: self.may(subject, project, "create", "imagestreams", "").await,
        }
    }

    async fn may_layers(&self, subject: &Subject, project: &str, verb: &str) -> bool {
        // A binding may change between the two questions; then they are asked again.
        eventually(format!("both ways of asking whether {subject:?} may {verb} get one answer"), async || {
            let apart = self.may(subject, project, verb, "imagestreams", "layers").await;
            let literal = self.may(subject, project, verb, "imagestreams/layers", "").await;
            if apart == literal { Ok(apart) } else { Err(format!("{apart} and {literal}")) }
        })
        .await
    }

    async fn may(&self, subject: &Subject, project: &str, verb: &str, resource: &str, part: &str) -> bool {
        let mut spec = json!({"resourceAttributes": {
            "group": "image.openshift.io", "namespace": project, "verb": verb, "resource": resource, "subresource": part,
        }});
        subject.write_into(&mut spec);
        let review = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a review");
        let reviews: Api<SubjectAccessReview> = Api::all(self.client());
        let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.expect("a status").allowed
    }
}

impl Subject {
    fn write_into(&self, spec: &mut Value) {
        let (user, groups) = match self {
            Self::ServiceAccount(namespace, name) => (
                format!("system:serviceaccount:{namespace}:{name}"),
                vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")],
            ),
            Self::User(name) => (name.clone(), vec![]),
            Self::Member(group) => ("somebody".to_owned(), vec![group.clone()]),
        };
        spec["user"] = json!(user);
        spec["groups"] = json!([groups, vec!["system:authenticated".to_owned()]].concat());
    }
}

/// OpenShift's own, from its bootstrap policy.
fn rules(role: &str) -> Value {
    let layers = |verbs: Value| json!({"apiGroups": IMAGE_GROUPS, "resources": ["imagestreams/layers"], "verbs": verbs});
    let builds = ["", "build.openshift.io"];
    match role {
        "system:image-puller" => json!([layers(json!(["get"]))]),
        "system:image-pusher" => json!([layers(json!(["get", "update"]))]),
        "system:image-builder" => json!([
            layers(json!(["get", "update"])),
            {"apiGroups": IMAGE_GROUPS, "resources": ["imagestreams"], "verbs": ["create"]},
            {"apiGroups": builds, "resources": ["builds/details"], "verbs": ["update"]},
            {"apiGroups": builds, "resources": ["builds"], "verbs": ["get"]},
        ]),
        other => panic!("{other} is none of OpenShift's image roles"),
    }
}
