//! Carries out a plan: first the questions, which shall not be answered by what we are about to do; then everything at
//! once, save that service accounts name a Secret only while it is there. Entries are appended after it was created and
//! removed before it goes: whenever we are cut off, the Secret tells whose they are.
//! Whatever the API server answers is noted in the index, so that the next plan is made from it and not from the watch,
//! which comes later.

mod body;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use http::StatusCode;
use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    core::v1::{Secret, ServiceAccount as ApiServiceAccount},
    rbac::v1::RoleBinding,
};
use kube::Resource;
use pullpass_domain::name::{Namespace, ServiceAccount};
use pullpass_runtime::failpoint;
use serde::de::DeserializeOwned;

use crate::{
    cluster::{
        client::{Cluster, Error, Target},
        index::Kept,
        object::{Account, BindingFacts, GRANT, Identity, LINK, SecretFacts, SlimSecret},
    },
    desired::Name,
    plan::{Action, Change, Content, Edit, Question, Step, View},
    state::Shared,
};

/// What came of one action that did not succeed.
#[derive(Debug)]
pub(crate) enum Setback {
    /// The object was not as we thought. Now we know how it is: plan again.
    Moved,
    /// The API server refused, or could not be reached.
    Failed { causes: Vec<Name>, error: Error },
}

/// The way into the cluster.
#[derive(Clone)]
pub(crate) struct Applier {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) shared: Arc<Shared>,
}

/// An object of the index, with its type on the wire and its resource.
trait Stored: Kept + From<Self::Wire> {
    type Resource: Resource<DynamicType = ()>;
    type Wire: DeserializeOwned;
    fn key(name: &str) -> Option<Self::Name>;
}

impl Stored for SecretFacts {
    type Resource = Secret;
    type Wire = SlimSecret;
    fn key(name: &str) -> Option<String> {
        Some(name.to_owned())
    }
}

impl Stored for BindingFacts {
    type Resource = RoleBinding;
    type Wire = RoleBinding;
    fn key(name: &str) -> Option<String> {
        Some(name.to_owned())
    }
}

impl Stored for Account {
    type Resource = ApiServiceAccount;
    type Wire = ApiServiceAccount;
    fn key(name: &str) -> Option<ServiceAccount> {
        ServiceAccount::new(name).ok()
    }
}

impl Applier {
    /// Carries out the actions, and gives the setbacks.
    pub(crate) async fn apply(&self, namespace: &Namespace, actions: Vec<Action>) -> Vec<Setback> {
        let (questions, others): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action.change, Change::Ask { .. }));
        let (deletions, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|action| matches!(action.change, Change::DeleteSecret { .. }));
        let (edits, writes): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|action| matches!(action.change, Change::EditAccount { .. }));
        let mut setbacks = Vec::new();
        self.carry_out_all(namespace, &questions, &mut setbacks).await;
        let failed = self.carry_out_all(namespace, &writes, &mut setbacks).await;
        let absent: BTreeSet<_> = failed.into_iter().filter_map(to_be_created).collect();
        let edits: Vec<_> = edits.into_iter().filter_map(|action| without(action, &absent)).collect();
        if self.carry_out_all(namespace, &edits, &mut setbacks).await.is_empty() {
            self.carry_out_all(namespace, &deletions, &mut setbacks).await;
        }
        setbacks
    }

    /// Carries out these at once, adds to the setbacks, and gives those that failed.
    async fn carry_out_all<'a>(
        &self,
        namespace: &Namespace,
        actions: &'a [Action],
        setbacks: &mut Vec<Setback>,
    ) -> Vec<&'a Action> {
        let results = join_all(actions.iter().map(|action| self.carry_out(namespace, action))).await;
        let mut failed = Vec::new();
        for (action, result) in actions.iter().zip(results) {
            if let Err(setback) = result {
                setbacks.push(setback);
                failed.push(action);
            }
        }
        failed
    }

    async fn carry_out(&self, namespace: &Namespace, action: &Action) -> Result<(), Setback> {
        let at = |name| Target { namespace, name };
        failpoint::pass("before", step(&action.change));
        let result = match &action.change {
            Change::CreateSecret { name, content } => {
                self.create::<SecretFacts>(at(name), body::secret(at(name), content)).await
            }
            Change::UpdateSecret { name, was, content, surplus } => {
                self.merge::<SecretFacts>(at(name), was, body::secret_patch(was, content, surplus)).await
            }
            Change::RecreateSecret { name, was, content } => {
                self.recreate_secret(at(name), was, content).await
            }
            Change::DeleteSecret { name, was } => self.delete::<SecretFacts>(at(name), was).await,
            Change::EditAccount { account, was, edits } => self.edit(at(account.as_str()), was, edits).await,
            Change::CreateBinding { name, binding } => {
                self.create::<BindingFacts>(at(name), body::binding(at(name), binding)).await
            }
            Change::UpdateBinding { name, was, binding } => {
                self.merge::<BindingFacts>(at(name), was, body::binding_patch(was, binding)).await
            }
            Change::RecreateBinding { name, was, binding } => {
                self.recreate::<BindingFacts>(at(name), was, body::binding(at(name), binding)).await
            }
            Change::ReleaseSecret { name, was } => {
                self.merge::<SecretFacts>(at(name), was, body::release(was, LINK)).await
            }
            Change::ReleaseBinding { name, was } => {
                self.merge::<BindingFacts>(at(name), was, body::release(was, GRANT)).await
            }
            Change::DeleteBinding { name, was } => self.delete::<BindingFacts>(at(name), was).await,
            Change::Ask { name, question } => self.ask(at(name), question).await,
        };
        failpoint::pass("after", step(&action.change));
        result.map_err(|problem| problem.of(action))
    }

    async fn create<S: Stored>(&self, at: Target<'_>, body: Vec<u8>) -> Result<(), Trouble> {
        let answer = self.cluster.create::<S::Resource, S::Wire>(&at, body).await;
        self.settle::<S>(at, None, answer).await
    }

    async fn merge<S: Stored>(&self, at: Target<'_>, was: &Identity, body: Vec<u8>) -> Result<(), Trouble> {
        let answer = self.cluster.patch::<S::Resource, S::Wire>(&at, "merge-patch", body).await;
        self.settle::<S>(at, Some(was), answer).await
    }

    async fn edit(&self, at: Target<'_>, was: &Identity, edits: &[Edit]) -> Result<(), Trouble> {
        let body = body::account_patch(was, edits);
        let answer =
            self.cluster.patch::<ApiServiceAccount, ApiServiceAccount>(&at, "json-patch", body).await;
        self.settle::<Account>(at, Some(was), answer).await
    }

    async fn delete<S: Stored>(&self, at: Target<'_>, was: &Identity) -> Result<(), Trouble> {
        match self.cluster.delete::<S::Resource>(&at, was).await {
            Ok(true) => {
                if let Some(key) = S::key(at.name) {
                    self.shared.with(|state| state.index.deleted::<S>(at.namespace, &key, was));
                }
                Ok(())
            }
            Ok(false) => self.refresh::<S>(at).await.map(|_| ()).map_err(Trouble::Error),
            Err(error) => self.look::<S>(at, Some(was), error).await,
        }
    }

    /// With a stand-in, so that the entries are known for ours if we are cut off while the Secret is away. The next plan
    /// takes the stand-in back.
    async fn recreate_secret(
        &self,
        at: Target<'_>,
        was: &Identity,
        content: &Content,
    ) -> Result<(), Trouble> {
        let (name, stand_in) = body::stand_in(at, was, &content.link);
        let at_stand_in = Target { namespace: at.namespace, name: &name };
        match self.create::<SecretFacts>(at_stand_in, stand_in).await {
            // It is there already.
            Ok(()) | Err(Trouble::Moved) => {}
            Err(trouble) => return Err(trouble),
        }
        failpoint::pass("after", "create-stand-in");
        self.recreate::<SecretFacts>(at, was, body::secret(at, content)).await
    }

    async fn recreate<S: Stored>(
        &self,
        at: Target<'_>,
        was: &Identity,
        body: Vec<u8>,
    ) -> Result<(), Trouble> {
        self.delete::<S>(at, was).await?;
        failpoint::pass("amid", "recreate");
        self.create::<S>(at, body).await
    }

    async fn ask(&self, at: Target<'_>, question: &Question) -> Result<(), Trouble> {
        let mut permitted = true;
        for review in body::reviews(at.namespace, question) {
            let answer = self.cluster.create::<SubjectAccessReview, body::Reviewed>(&at, review).await;
            permitted &= answer.map_err(Trouble::Error)?.status.allowed;
            if !permitted {
                break;
            }
        }
        self.shared.with(|state| state.index.set_permitted(at.namespace, question.clone(), permitted));
        Ok(())
    }

    /// Takes the answer to a write into the index, or looks why it was refused.
    async fn settle<S: Stored>(
        &self,
        at: Target<'_>,
        was: Option<&Identity>,
        answer: Result<S::Wire, Error>,
    ) -> Result<(), Trouble> {
        match (answer, S::key(at.name)) {
            (Ok(object), Some(key)) => {
                self.shared.with(|state| state.index.put(at.namespace, key, S::from(object)));
                Ok(())
            }
            (Ok(_), None) => Ok(()),
            (Err(error), _) => self.look::<S>(at, was, error).await,
        }
    }

    /// After a refusal that may mean that the object is not what we thought (409; 404; for a JSON Patch whose test
    /// failed 422): looks. If it is just as we thought, the refusal meant something else.
    async fn look<S: Stored>(
        &self,
        at: Target<'_>,
        was: Option<&Identity>,
        error: Error,
    ) -> Result<(), Trouble> {
        let stale = [StatusCode::CONFLICT, StatusCode::NOT_FOUND, StatusCode::UNPROCESSABLE_ENTITY];
        if !stale.into_iter().any(|status| error.is(status))
            || (was.is_none() && !error.is(StatusCode::CONFLICT))
        {
            return Err(Trouble::Error(error));
        }
        let is = self.refresh::<S>(at).await.map_err(Trouble::Error)?;
        let moved = is.as_ref() != was || was.is_none();
        Err(if moved { Trouble::Moved } else { Trouble::Error(error) })
    }

    /// Reads an object anew, and gives which state of it that is.
    async fn refresh<S: Stored>(&self, at: Target<'_>) -> Result<Option<Identity>, Error> {
        let object = self.cluster.get::<S::Resource, S::Wire>(&at).await?.map(S::from);
        let identity = object.as_ref().map(|object| object.identity().clone());
        if let Some(key) = S::key(at.name) {
            self.shared.with(|state| match object {
                Some(object) => state.index.put(at.namespace, key, object),
                None => state.index.remove::<S>(at.namespace, &key, None),
            });
        }
        Ok(identity)
    }

    /// Looks again at the objects that stood in our way and that no watch tells of; forgets those that stand in nobody's
    /// way any more.
    pub(crate) async fn look_again(&self, view: &View) -> Result<(), Error> {
        let secrets =
            view.state.secrets.iter().filter(|(_, facts)| !facts.marks.labelled).map(|(name, _)| name);
        let bindings =
            view.state.bindings.iter().filter(|(_, facts)| !facts.marks.labelled).map(|(name, _)| name);
        for name in secrets {
            let wanted = view.links.values().any(|link| link.what.secret_name().as_str() == name);
            self.look_or_forget::<SecretFacts>(Target { namespace: &view.name, name }, wanted).await?;
        }
        for name in bindings {
            let wanted = view.grants.keys().any(|grant| crate::plan::grants::binding_name(grant) == *name);
            self.look_or_forget::<BindingFacts>(Target { namespace: &view.name, name }, wanted).await?;
        }
        Ok(())
    }

    async fn look_or_forget<S: Stored>(&self, at: Target<'_>, wanted: bool) -> Result<(), Error> {
        if wanted {
            return self.refresh::<S>(at).await.map(|_| ());
        }
        if let Some(key) = S::key(at.name) {
            self.shared.with(|state| state.index.remove::<S>(at.namespace, &key, None));
        }
        Ok(())
    }
}

/// A setback before it is known whose it is.
enum Trouble {
    Moved,
    Error(Error),
}

impl Trouble {
    fn of(self, action: &Action) -> Setback {
        match self {
            Self::Moved => Setback::Moved,
            Self::Error(error) => Setback::Failed { causes: causes(action), error },
        }
    }
}

/// What a change is called where a test wants to end the process.
const fn step(change: &Change) -> &'static str {
    match change {
        Change::CreateSecret { .. } => "create-secret",
        Change::UpdateSecret { .. } => "update-secret",
        Change::RecreateSecret { .. } => "recreate-secret",
        Change::DeleteSecret { .. } => "delete-secret",
        Change::EditAccount { .. } => "edit-account",
        Change::CreateBinding { .. } => "create-binding",
        Change::UpdateBinding { .. } => "update-binding",
        Change::RecreateBinding { .. } => "recreate-binding",
        Change::DeleteBinding { .. } => "delete-binding",
        Change::ReleaseSecret { .. } => "release-secret",
        Change::ReleaseBinding { .. } => "release-binding",
        Change::Ask { .. } => "ask",
    }
}

/// The name of the Secret that is not there if this fails.
fn to_be_created(action: &Action) -> Option<&str> {
    match &action.change {
        Change::CreateSecret { name, .. } | Change::RecreateSecret { name, .. } => Some(name),
        _ => None,
    }
}

/// An edit of a service account less the entries for Secrets that are not there; none if nothing is left of it.
fn without(mut action: Action, absent: &BTreeSet<&str>) -> Option<Action> {
    let Change::EditAccount { edits, .. } = &mut action.change else { return Some(action) };
    let mut unbegun = BTreeSet::new();
    edits.retain_mut(|edit| match &mut edit.step {
        Step::Append { first } if absent.contains(edit.secret.as_str()) => {
            if *first {
                unbegun.insert(edit.list);
            }
            false
        }
        Step::Append { first } => {
            *first |= unbegun.remove(&edit.list);
            true
        }
        Step::Remove(_) => true,
    });
    (!edits.is_empty()).then_some(action)
}

fn causes(action: &Action) -> Vec<Name> {
    let mut causes = vec![action.cause.clone()];
    if let Change::EditAccount { edits, .. } = &action.change {
        causes.extend(edits.iter().map(|edit| edit.cause.clone()));
    }
    causes.sort();
    causes.dedup();
    causes
}
