//! The procedures of the page, in its order.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::{core::v1::ServiceAccount, rbac::v1::RoleBinding};
use serde_json::json;

use crate::stage::{Stage, USER};

const PULL_LIST: &str = "get serviceaccount default -o jsonpath={.imagePullSecrets[*].name}";

/// Walks them all.
pub(crate) async fn walk(stage: &mut Stage) -> anyhow::Result<()> {
    for project in ["project-a", "project-b", "secrets"] {
        stage.cluster.create_namespace(project, &[]).await;
    }
    same_project(stage).await?;
    one_service_account(stage).await?;
    all_service_accounts(stage).await?;
    existing_files(stage).await?;
    link_and_pull(stage).await?;
    rotate(stage).await?;
    builds(stage).await?;
    delegated(stage).await?;
    unlink(stage).await
}

/// OpenShift lets a project's service accounts pull the project's images from the start; here that binding is made first.
async fn same_project(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("Images of the same project: nothing to do");
    let own = json!({
        "metadata": {"name": "system:image-pullers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:image-puller"},
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts:project-a",
        }],
    });
    stage.cluster.create::<RoleBinding>("project-a", own).await;
    stage.pullpass("grant create within-a --project project-a --to-project project-a --wait").await?;
    let status = stage.pullpass("status").await?;
    let bindings = stage.kubectl("get rolebindings -n project-a -o name").await;
    stage.check(
        status.stdout.contains("ALREADY_PERMITTED") && bindings.lines().count() == 1,
        "a grant within one project says ALREADY_PERMITTED and writes nothing",
    );
    stage.pullpass("grant delete within-a --wait").await?;
    Ok(())
}

async fn one_service_account(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("One service account pulls images of another project");
    let before = stage.can_pull_images_of("project-b", "project-a", "default").await;
    stage
        .pullpass("grant create a-pulls-b --project project-b --to-service-account project-a/default --wait")
        .await?;
    stage.kubectl("get rolebindings -n project-b -o wide").await;
    let after = stage.can_pull_images_of("project-b", "project-a", "default").await;
    let other = stage.can_pull_images_of("project-b", "project-a", "builder").await;
    stage.check(
        !before && after && !other,
        "project-a/default, and nobody else, may pull images of project-b",
    );
    stage.pullpass("grant delete a-pulls-b --wait").await?;
    let gone = !stage.can_pull_images_of("project-b", "project-a", "default").await;
    stage.check(gone, "with the grant deleted it may not any more");
    Ok(())
}

async fn all_service_accounts(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("All service accounts of a project pull images of another");
    stage.pullpass("grant create all-of-a --project project-b --to-project project-a --wait").await?;
    let any = stage.can_pull_images_of("project-b", "project-a", "builder").await;
    let foreign = stage.can_pull_images_of("project-b", "secrets", "default").await;
    stage.check(
        any && !foreign,
        "every service account of project-a, and no other, may pull images of project-b",
    );
    stage.pullpass("grant delete all-of-a --wait").await?;
    let gone = !stage.can_pull_images_of("project-b", "project-a", "builder").await;
    stage.check(gone, "with the grant deleted none may any more");
    Ok(())
}

async fn existing_files(stage: &mut Stage) -> anyhow::Result<()> {
    let (host, auth) =
        (stage.registry.host().to_owned(), BASE64_STANDARD.encode(format!("{USER}:fake-first")));
    let files = [
        (
            "old-file",
            "a .dockercfg",
            json!({host.clone(): {"auth": auth}}),
            "--secret-type dockercfg",
            "kubernetes.io/dockercfg",
        ),
        (
            "new-file",
            "a config.json",
            json!({"auths": {host: {"auth": auth}}}),
            "",
            "kubernetes.io/dockerconfigjson",
        ),
    ];
    for (name, what, content, option, secret_type) in files {
        Stage::title(&format!("A pull secret from {what}"));
        let import = format!("credential import {name} --from-file -");
        stage.pullpass_with("cat FILE", &content.to_string(), &import).await?;
        let link = format!(
            "link create {name} --credential {name} --namespace secrets --service-account builder {option} --wait"
        );
        if stage.cluster.find_service_account("secrets", "builder").await.is_none() {
            stage.cluster.create_service_account("secrets", "builder", &[]).await;
        }
        stage.pullpass(&link).await?;
        let shown = stage.kubectl(&format!("get secret {name} -n secrets -o jsonpath={{.type}}")).await;
        stage.check(shown == secret_type, &format!("{what} became a Secret of type {secret_type}"));
        stage.pullpass(&format!("link delete {name} --wait")).await?;
    }
    Ok(())
}

async fn link_and_pull(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("A pull secret from a login, linked to a service account for pulling");
    let theirs = json!({"imagePullSecrets": [{"name": "somebody-elses"}]});
    stage.cluster.merge::<ServiceAccount>("project-a", "default", theirs).await;
    let refused = !stage.pull(None, "without a credential").await?;
    stage.check(refused, "without a credential the registry refuses the pull");
    let create = format!(
        "credential create shop --server {} --username {USER} --password-stdin",
        stage.registry.host()
    );
    stage.pullpass_with("printf %s \"$PASSWORD\"", "fake-first", &create).await?;
    let link = "link create shop --credential shop --namespace project-a --service-account default --for pull --wait";
    stage.pullpass(link).await?;
    let list = stage.kubectl(&format!("{PULL_LIST} -n project-a")).await;
    stage.check(list == "somebody-elses shop", "our entry stands after the one that was there");
    let secret = stage.secret("project-a", "shop").await;
    let pulled = stage.pull(Some(&secret), "with exactly the Secret of the cluster").await?;
    stage.check(pulled, "with the Secret in the cluster the private image is pulled");
    Ok(())
}

async fn rotate(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("The password changes");
    stage.registry.change_password("fake-second").await?;
    let old = stage.secret("project-a", "shop").await;
    let refused = !stage.pull(Some(&old), "the registry has a new password").await?;
    stage.check(refused, "with the old password the registry refuses the pull");
    let rotate = format!(
        "credential rotate shop --server {} --username {USER} --password-stdin",
        stage.registry.host()
    );
    stage.pullpass_with("printf %s \"$NEW_PASSWORD\"", "fake-second", &rotate).await?;
    stage.pullpass("status --wait").await?;
    let new = stage.secret("project-a", "shop").await;
    let pulled = stage.pull(Some(&new), "after the rotation").await?;
    stage.check(pulled, "after the rotation the pull works again");
    Ok(())
}

async fn builds(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("A secret linked to builder, for builds");
    let link = "link create build --credential shop --namespace secrets --service-account builder --for mount --wait";
    stage.pullpass(link).await?;
    let list = stage.kubectl("get serviceaccount builder -n secrets -o jsonpath={.secrets[*].name}").await;
    let linked = list.split_whitespace().any(|name| name == "build");
    stage.check(linked, "builder lists the Secret among its secrets");
    stage.pullpass("link delete build --wait").await?;
    Ok(())
}

async fn delegated(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title(
        "Delegated authentication: one credential for the authentication server, one for the registry",
    );
    for (name, server) in [("sso", "sso.example.com"), ("registry", "registry.example.com")] {
        let create = format!("credential create {name} --server {server} --username {USER} --password-stdin");
        stage.pullpass_with("printf %s \"$PASSWORD\"", "fake-password", &create).await?;
    }
    let link = "link create both --credential sso --credential registry --namespace secrets --service-account default --wait";
    stage.pullpass(link).await?;
    let secret: serde_json::Value = serde_json::from_slice(&stage.secret("secrets", "both").await)?;
    let servers: Vec<_> = secret["auths"].as_object().into_iter().flat_map(|auths| auths.keys()).collect();
    stage.check(servers == ["registry.example.com", "sso.example.com"], "one Secret serves both");
    stage.pullpass("link delete both --wait").await?;
    Ok(())
}

async fn unlink(stage: &mut Stage) -> anyhow::Result<()> {
    Stage::title("Unlinking takes back what was added, and nothing else");
    stage.pullpass("link delete shop --wait").await?;
    let list = stage.kubectl(&format!("{PULL_LIST} -n project-a")).await;
    stage.check(list == "somebody-elses", "what was there before is untouched");
    let left =
        stage.kubectl("get secrets,rolebindings -A -l app.kubernetes.io/managed-by=pullpass -o name").await;
    stage.check(left.is_empty(), "no object of Pullpass is left in the cluster");
    let status = stage.pullpass("status").await?;
    stage.check(status.code == 0, "and status agrees");
    Ok(())
}
