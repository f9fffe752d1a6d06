//! The page's first part: images in the integrated registry, of the same project and of another.

use serde_json::json;

use crate::walk::Walk;

const OUR_BINDINGS: &str = "get rolebindings -l app.kubernetes.io/managed-by=pullpass \
                            -o custom-columns='NAME:.metadata.name,ROLE:.roleRef.name,TO:.subjects[*].name'";

pub(crate) async fn walk(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    same_project(walk).await?;
    one_service_account(walk).await?;
    all_service_accounts(walk).await
}

async fn same_project(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure("Images of the same project: nothing to do", "(nothing)");
    write_questions(walk)?;
    let may = may_pull(walk, "default", "project-a").await?;
    walk.check("a project's service accounts may pull its images without a grant", may);
    walk.run(
        "pullpass grant create own-images --project project-a --to-service-account project-a/default --wait",
    )
    .await?;
    let status = walk.run("pullpass status").await?;
    walk.check(
        "a grant within one project is answered ALREADY_PERMITTED",
        status.has_line_with(&["own-images", "ALREADY_PERMITTED"]),
    );
    let bindings = walk.run(format!("kubectl -n project-a {OUR_BINDINGS}")).await?;
    walk.check("and writes nothing", !bindings.text.contains("image-puller"));
    walk.run("pullpass grant delete own-images --wait").await?;
    Ok(())
}

async fn one_service_account(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "Images of another project, for one service account",
        "oc policy add-role-to-user system:image-puller system:serviceaccount:project-a:default -n project-b",
    );
    let before = may_pull(walk, "default", "project-b").await?;
    walk.check("project-a/default may not pull from project-b at first", !before);
    walk.run(
        "pullpass grant create a-pulls-b --project project-b --to-service-account project-a/default --wait",
    )
    .await?;
    let bindings = walk.run(format!("kubectl -n project-b {OUR_BINDINGS}")).await?;
    walk.check(
        "the grant is one RoleBinding in project-b",
        bindings.text.lines().count() == 2 && bindings.has_line_with(&["system:image-puller", "default"]),
    );
    let granted = may_pull(walk, "default", "project-b").await?;
    let other = may_pull(walk, "builder", "project-b").await?;
    walk.check("with the grant project-a/default may pull from project-b", granted);
    walk.check("and project-a/builder may not", !other);
    walk.run("pullpass grant delete a-pulls-b --wait").await?;
    let after = may_pull(walk, "default", "project-b").await?;
    walk.check("without the grant project-a/default may not any more", !after);
    Ok(())
}

async fn all_service_accounts(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "Images of another project, for all service accounts of a project",
        "oc policy add-role-to-group system:image-puller system:serviceaccounts:project-a -n project-b",
    );
    walk.run("pullpass grant create all-of-a --project project-b --to-project project-a --wait").await?;
    let bindings = walk.run(format!("kubectl -n project-b {OUR_BINDINGS}")).await?;
    walk.check(
        "the grant is one RoleBinding to the group of project-a's service accounts",
        bindings.has_line_with(&["system:image-puller", "system:serviceaccounts:project-a"]),
    );
    let (one, later) =
        (may_pull(walk, "builder", "project-b").await?, may_pull(walk, "made-later", "project-b").await?);
    walk.check("every service account of project-a may pull from project-b", one && later);
    walk.run("pullpass grant delete all-of-a --wait").await?;
    let after = may_pull(walk, "builder", "project-b").await?;
    walk.check("without the grant none may any more", !after);
    Ok(())
}

/// What the integrated registry asks the API server, about a service account of project-a. Not by `kubectl auth can-i`:
/// where OpenShift's resources are not served, it asks without their group.
async fn may_pull(walk: &Walk<'_>, account: &str, project: &str) -> anyhow::Result<bool> {
    let who = format!("system:serviceaccount:project-a:{account}");
    let question = format!("kubectl create -f may-pull-from-{project}.json --as {who}");
    let ran = walk.attempt(format!(r#"{question} -o jsonpath='{{.status.allowed}}{{"\n"}}'"#)).await?;
    match ran.text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => anyhow::bail!("the API server answers neither true nor false, but {other:?}"),
    }
}

fn write_questions(walk: &Walk<'_>) -> anyhow::Result<()> {
    for project in ["project-a", "project-b"] {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": project, "verb": "get",
                "group": "image.openshift.io", "resource": "imagestreams", "subresource": "layers",
            }},
        });
        walk.shell.write(&format!("may-pull-from-{project}.json"), &review.to_string())?;
    }
    walk.note("may-pull-from-*.json ask what the integrated registry asks, as a SelfSubjectAccessReview:");
    walk.note("get imagestreams/layers in image.openshift.io");
    Ok(())
}
