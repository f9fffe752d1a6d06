//! The page's second part: Secrets for registries elsewhere, and the service accounts that use them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use crate::{
    walk::Walk,
    world::{NEW_PASSWORD, PASSWORD, USER},
};

const DOCKERCONFIGJSON: &str = r"-o jsonpath='{.data.\.dockerconfigjson}' | base64 -d > auth.json";

pub(crate) async fn walk(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    from_dockercfg(walk).await?;
    from_config_json(walk).await?;
    from_password(walk).await?;
    link_for_pull(walk).await?;
    link_for_builds(walk).await?;
    delegated(walk).await
}

async fn from_dockercfg(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "A Secret from a .dockercfg file",
        "oc create secret generic old --from-file=.dockercfg=dockercfg --type=kubernetes.io/dockercfg",
    );
    let entries = json!({walk.world.registry.host(): {"auth": auth(PASSWORD), "email": "robot@example.org"}});
    walk.shell.write("dockercfg", &entries.to_string())?;
    walk.run("pullpass credential import old --from-file dockercfg").await?;
    link(walk, "old", "--credential old --secret-type dockercfg").await?;
    let secret = walk.run("kubectl -n shop get secret old").await?;
    walk.check("the Secret is of type dockercfg", secret.has_line_with(&["old", "kubernetes.io/dockercfg "]));
    walk.note("skopeo reads the entries inside of \"auths\" only");
    let (get, decode) = ("kubectl -n shop get secret old", r"-o jsonpath='{.data.\.dockercfg}' | base64 -d");
    walk.run(format!(r#"(printf '{{"auths":'; {get} {decode}; printf '}}') > auth.json"#)).await?;
    let pulled = pull(walk, &walk.world.registry.image(), "--authfile auth.json").await?;
    walk.check("the private image is pulled with the Secret made of .dockercfg", pulled);
    unlink(walk, "old").await
}

async fn from_config_json(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "A Secret from a docker config.json file",
        "oc create secret generic new --from-file=.dockerconfigjson=config.json \
         --type=kubernetes.io/dockerconfigjson",
    );
    let file =
        json!({"auths": {walk.world.registry.host(): {"auth": auth(PASSWORD)}}, "detachKeys": "ctrl-e,e"});
    walk.shell.write("config.json", &file.to_string())?;
    walk.run("pullpass credential import new --from-file config.json").await?;
    link(walk, "new", "--credential new").await?;
    let secret = walk.run("kubectl -n shop get secret new").await?;
    walk.check(
        "the Secret is of type dockerconfigjson",
        secret.has_line_with(&["new", "kubernetes.io/dockerconfigjson "]),
    );
    walk.run(format!("kubectl -n shop get secret new {DOCKERCONFIGJSON}")).await?;
    let pulled = pull(walk, &walk.world.registry.image(), "--authfile auth.json").await?;
    walk.check("the private image is pulled with the Secret made of config.json", pulled);
    unlink(walk, "new").await
}

async fn from_password(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "A Secret from a user name and a password, and a new password",
        "oc create secret docker-registry acme --docker-server=… --docker-username=… --docker-password=… \
         --docker-email=…",
    );
    let (host, image) = (walk.world.registry.host(), walk.world.registry.image());
    let who = format!("--server {host} --username {USER} --email robot@example.org");
    walk.run(format!(r#"printf %s "$PASSWORD" | pullpass credential create acme {who} --password-stdin"#))
        .await?;
    link(walk, "acme", "--credential acme").await?;
    let refused = !pull(walk, &image, "--src-no-creds").await?;
    walk.check("the private image is refused without the Secret", refused);
    let secret = format!("kubectl -n shop get secret acme {DOCKERCONFIGJSON}");
    walk.run(&secret).await?;
    let pulled = pull(walk, &image, "--authfile auth.json").await?;
    walk.check("the private image is pulled with exactly the Secret in the cluster", pulled);

    walk.note("now the password is changed in the registry; auth.json is the Secret of before");
    walk.world.registry.change_password(NEW_PASSWORD).await?;
    let refused = !pull(walk, &image, "--authfile auth.json").await?;
    walk.check("the Secret with the old password is refused", refused);
    walk.run(r#"printf %s "$NEW_PASSWORD" | pullpass credential rotate acme --password-stdin"#).await?;
    let status = walk.run("pullpass status --wait").await?;
    walk.check("the rotation has reached every Secret", status.worked());
    walk.run(&secret).await?;
    let pulled = pull(walk, &image, "--authfile auth.json").await?;
    walk.check("the rotated Secret pulls again", pulled);
    Ok(())
}

async fn link_for_pull(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure("A service account that pulls with a Secret", "oc secrets link default acme --for=pull");
    let entries =
        "kubectl -n project-a get serviceaccount default -o jsonpath='{.imagePullSecrets[*].name}{\"\\n\"}'";
    let mounts = "kubectl -n project-a get serviceaccount default -o jsonpath='{.secrets[*].name}{\"\\n\"}'";
    walk.note("the entries of somebody else, from before");
    let before = walk.run(entries).await?;
    let mounts_before = walk.run(mounts).await?;
    let to = "--namespace project-a --service-account default --for pull --wait";
    walk.run(format!("pullpass link create acme-in-a --credential acme --secret-name acme {to}")).await?;
    let linked = walk.run(entries).await?;
    walk.check(
        "the Secret comes after the service account's own entries",
        linked.says(&format!("{} acme", before.text.trim())),
    );
    let mounted = walk.run(mounts).await?;
    walk.check("for pull, and not for mount", mounted.text == mounts_before.text);
    walk.run(format!("kubectl -n project-a get secret acme {DOCKERCONFIGJSON}")).await?;
    let pulled = pull(walk, &walk.world.registry.image(), "--authfile auth.json").await?;
    walk.check("the same credential pulls in another namespace", pulled);
    walk.run("pullpass link delete acme-in-a --wait").await?;
    let after = walk.run(entries).await?;
    walk.check(
        "unlinking leaves the service account's own entries untouched",
        after.text == before.text && before.says("nexus artifactory"),
    );
    let secret = walk.attempt("kubectl -n project-a get secret acme").await?;
    walk.check("and takes the Secret back", secret.text.contains("NotFound"));
    Ok(())
}

async fn link_for_builds(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure("A service account that builds with a Secret", "oc secrets link builder acme");
    let lists = "kubectl -n project-a get serviceaccount builder \
                 -o custom-columns='PULL:.imagePullSecrets[*].name,MOUNT:.secrets[*].name'";
    let before = walk.run(lists).await?;
    let to = "--namespace project-a --service-account builder --for pull,mount --wait";
    walk.run(format!("pullpass link create acme-builds --credential acme --secret-name acme {to}")).await?;
    let linked = columns(&walk.run(lists).await?.text);
    let has = |column: usize| linked.get(column).is_some_and(|names| names.iter().any(|name| name == "acme"));
    walk.check("builder has the Secret for pull and for mount", has(0) && has(1));
    walk.run("pullpass link delete acme-builds --wait").await?;
    let after = walk.run(lists).await?;
    walk.check(
        "unlinking leaves both lists of builder as they were",
        columns(&after.text) == columns(&before.text),
    );
    Ok(())
}

async fn delegated(walk: &mut Walk<'_>) -> anyhow::Result<()> {
    walk.procedure(
        "Delegated authentication: the registry asks a server of its own",
        "oc create secret docker-registry, twice: for the registry, and for the server that authenticates",
    );
    let registry = &walk.world.delegated;
    let (host, image) = (registry.host(), registry.image());
    let server = registry.realm().unwrap_or_default();
    let auth = auth(PASSWORD);
    let file = json!({"auths": {host: {"auth": auth}, &server: {"auth": auth}}});
    walk.shell.write("both.json", &file.to_string())?;
    let refused = !pull(walk, &image, "--src-no-creds").await?;
    walk.check("the private image is refused without a token", refused);
    walk.note("one credential with both entries");
    walk.run("pullpass credential import both --from-file both.json").await?;
    link(walk, "both", "--credential both").await?;
    let one = has_both_and_pulls(walk, "both", &image, [host, &server]).await?;
    walk.check("one credential with both entries pulls", one);
    walk.note("or one credential each, merged into one Secret by one link");
    for (name, server) in [("for-registry", host), ("for-server", &server)] {
        let create = format!("pullpass credential create {name} --server {server} --username {USER}");
        walk.run(format!(r#"printf %s "$PASSWORD" | {create} --password-stdin"#)).await?;
    }
    link(walk, "merged", "--credential for-server --credential for-registry").await?;
    let two = has_both_and_pulls(walk, "merged", &image, [host, &server]).await?;
    walk.check("two credentials in one link pull", two);
    walk.note("in the end");
    let status = walk.run("pullpass status --wait").await?;
    walk.check("the cluster agrees with all that is declared", status.worked());
    Ok(())
}

async fn has_both_and_pulls(
    walk: &mut Walk<'_>,
    secret: &str,
    image: &str,
    registries: [&str; 2],
) -> anyhow::Result<bool> {
    walk.run(format!("kubectl -n shop get secret {secret} {DOCKERCONFIGJSON}")).await?;
    let entries = walk.run(r#"grep -oE '"(http|127)[^"]*"' auth.json"#).await?;
    let has_both = registries.iter().all(|registry| entries.text.contains(&format!("\"{registry}\"")));
    Ok(pull(walk, image, "--authfile auth.json").await? && has_both)
}

/// Links to shop/default, for pull.
async fn link(walk: &mut Walk<'_>, name: &str, credentials: &str) -> anyhow::Result<()> {
    let to = "--namespace shop --service-account default --for pull --wait";
    walk.run(format!("pullpass link create {name} {credentials} {to}")).await.map(drop)
}

async fn unlink(walk: &mut Walk<'_>, name: &str) -> anyhow::Result<()> {
    walk.run(format!("pullpass link delete {name} --wait")).await.map(drop)
}

/// Whether skopeo is given the image.
async fn pull(walk: &Walk<'_>, image: &str, login: &str) -> anyhow::Result<bool> {
    let options = format!("--quiet --src-tls-verify=false {login}");
    let ran =
        walk.attempt(format!("skopeo --insecure-policy copy {options} docker://{image} dir:copy")).await?;
    Ok(ran.worked())
}

/// The names in the columns of the one object that kubectl shows.
fn columns(table: &str) -> Vec<Vec<String>> {
    let row = table.lines().nth(1).unwrap_or_default();
    row.split_whitespace().map(|cell| cell.split(',').map(str::to_owned).collect()).collect()
}

fn auth(password: &str) -> String {
    BASE64_STANDARD.encode(format!("{USER}:{password}"))
}
