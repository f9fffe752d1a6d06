//! How a grant is shown.

use pullpass_api::grant::v1::{ImageGrant, Role, image_grant::Subject};

use crate::{
    output::{self, Resource},
    values,
};

impl Resource for ImageGrant {
    const NAME: &'static str = "pullpass.grant.v1.ImageGrant";
    const HEADERS: &'static [&'static str] = &["NAME", "PROJECT", "TO", "ROLE", "CLUSTERS", "STATE"];

    fn cells(&self) -> Vec<String> {
        vec![
            values::short(&self.name),
            self.project.clone(),
            subject(self.subject.as_ref()),
            role(self.role()).to_owned(),
            values::shorts(&self.clusters),
            output::life(self.delete_time.as_ref()),
        ]
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Name", self.name.clone()),
            ("UID", self.uid.clone()),
            ("Project", self.project.clone()),
            ("To", subject(self.subject.as_ref())),
            ("Role", role(self.role()).to_owned()),
            ("Clusters", values::shorts(&self.clusters)),
            ("Created", output::time(self.create_time.as_ref())),
            ("Updated", output::time(self.update_time.as_ref())),
            ("Deleted", output::time(self.delete_time.as_ref())),
            ("Revision", self.revision.to_string()),
        ]
    }
}

fn subject(subject: Option<&Subject>) -> String {
    match subject {
        Some(Subject::ServiceAccount(account)) => {
            format!("service account {}/{}", account.namespace, account.name)
        }
        Some(Subject::ProjectServiceAccounts(project)) => format!("project {project}"),
        Some(Subject::Group(group)) => format!("group {group}"),
        Some(Subject::User(user)) => format!("user {user}"),
        None => String::new(),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Pull | Role::Unspecified => "pull",
        Role::Push => "push",
        Role::Build => "build",
    }
}
