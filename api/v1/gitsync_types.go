package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GitSync keeps what a path of a git repository declares in the cluster: it polls, builds with kustomize, applies
// server-side and prunes what left the repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=siskin,shortName=gs
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.revision`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Author",type=string,JSONPath=`.status.commit.author`,priority=1
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`,priority=1
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.spec.path`,priority=1
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`,priority=1
type GitSync struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec GitSyncSpec `json:"spec"`
	// status is what Siskin fetched and applied.
	// +optional
	Status GitSyncStatus `json:"status,omitzero"`
}

// GitSyncList is a list of GitSyncs.
//
// +kubebuilder:object:root=true
type GitSyncList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GitSync `json:"items"`
}

// GitSyncSpec is what the user wants of a GitSync.
type GitSyncSpec struct {
	// url of the repository: https://host/path, http://host/path, ssh://user@host/path, the short form user@host:path, or
	// file:///path of a repository on the controller's own disk. At most 2048 characters, without credentials.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^(https?|ssh|file)://[^[:space:]]+$') || self.matches('^[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^[:space:]]+$')",message="url must look like https://host/path, ssh://git@host/path, git@host:path or file:///path"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^https?://[^/]*@') && !self.matches('^ssh://[^/@]*:[^/@]*@')",message="url must not hold credentials: put them into the Secret that secretRef names"
	// +required
	URL string `json:"url"`

	// ref selects the commit to sync. Default: the head of branch main.
	// +kubebuilder:default={}
	// +optional
	Ref GitRef `json:"ref,omitzero"`

	// path of the directory to build, from the repository's root. Without a kustomization.yaml there, all *.yaml and *.yml
	// files below it are taken. It may not leave the repository. Default "./".
	// +kubebuilder:default="./"
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('/') && !self.split('/').exists(p, p == '..')",message="path must be relative to the repository's root and must not contain .."
	// +optional
	Path string `json:"path,omitempty"`

	// interval between two looks at the repository, spread by ±5 %. Drift in the cluster is corrected every ten intervals, at
	// the soonest every 5 minutes. At least 1s. Default 1m.
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="interval must be at least 1s"
	// +kubebuilder:validation:Pattern="^([0-9]{1,6}(\\.[0-9]{1,3})?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Interval metav1.Duration `json:"interval,omitzero"`

	// timeout of one fetch from the repository, and of the wait for new CustomResourceDefinitions. At least 1s. Default 60s.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="timeout must be at least 1s"
	// +kubebuilder:validation:Pattern="^([0-9]{1,6}(\\.[0-9]{1,3})?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +optional
	Timeout metav1.Duration `json:"timeout,omitzero"`

	// secretRef names a Secret of the GitSync's namespace with the credentials: username and password, or bearerToken, for
	// http and https; identity (a private key), known_hosts and, if the key is encrypted, password for ssh; ca.crt to trust
	// a certificate authority. Default: none.
	// +optional
	SecretRef *GitSecretRef `json:"secretRef,omitempty"`

	// prune deletes what this GitSync applied and what is no longer in git. Objects annotated siskin.dev/prune: disabled are
	// kept. Default true.
	// +kubebuilder:default=true
	// +optional
	Prune *bool `json:"prune,omitempty"`

	// deletionPolicy tells what happens to the applied objects when the GitSync is deleted. MirrorPrune deletes them if prune
	// is true; Orphan leaves them. A suspended GitSync leaves them in any case. Default MirrorPrune.
	// +kubebuilder:default=MirrorPrune
	// +optional
	DeletionPolicy GitSyncDeletionPolicy `json:"deletionPolicy,omitempty"`

	// targetNamespace sets the namespace of every namespaced object, as kustomize's namespace does. The namespace is not
	// created. Default: what the manifests say, else the GitSync's own namespace.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// serviceAccountName is the ServiceAccount of the GitSync's namespace that objects are applied and pruned as. Default: the
	// controller's own permissions.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// suspend stops fetching, applying and pruning; what was applied stays. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// GitRef selects a commit.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.tag) && has(self.commit))",message="give tag or commit, not both"
type GitRef struct {
	// branch whose head is synced. Default main.
	// +kubebuilder:default=main
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^\s~^:?*\[\\]*$`
	// +optional
	Branch string `json:"branch,omitempty"`

	// tag to sync instead of a branch. It is followed when it moves.
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[^\s~^:?*\[\\]*$`
	// +optional
	Tag string `json:"tag,omitempty"`

	// commit to stay at: the 40 hexadecimal digits of a commit of branch.
	// +kubebuilder:validation:Pattern=`^([0-9a-f]{40})?$`
	// +kubebuilder:validation:MaxLength=40
	// +optional
	Commit string `json:"commit,omitempty"`
}

// GitSecretRef names a Secret in the GitSync's namespace.
type GitSecretRef struct {
	// name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// GitSyncDeletionPolicy tells what happens to the applied objects when a GitSync is deleted.
//
// +kubebuilder:validation:Enum=MirrorPrune;Orphan
type GitSyncDeletionPolicy string

const (
	// GitSyncMirrorPrune deletes the applied objects if spec.prune is true.
	GitSyncMirrorPrune GitSyncDeletionPolicy = "MirrorPrune"
	// GitSyncOrphan leaves the applied objects.
	GitSyncOrphan GitSyncDeletionPolicy = "Orphan"
)

// Reasons of a GitSync's conditions; an event of the same reason tells each transition.
const (
	// GitSyncSynced : Ready is True; the cluster is as git says.
	GitSyncSynced = "Synced"
	// GitSyncSuspended : Ready is Unknown; spec.suspend is true.
	GitSyncSuspended = "Suspended"
	// GitSyncInvalidSpec : Ready is False and Stalled is True; only an edit of the GitSync helps.
	GitSyncInvalidSpec = "InvalidSpec"
	// GitSyncSecretInvalid : Ready is False; the Secret is missing or lacks a key.
	GitSyncSecretInvalid = "SecretInvalid"
	// GitSyncAuthenticationFailed : Ready is False; the git server refused the credentials, or its host key is not known.
	GitSyncAuthenticationFailed = "AuthenticationFailed"
	// GitSyncGitOperationFailed : Ready is False; the git server cannot be reached or answered with an error.
	GitSyncGitOperationFailed = "GitOperationFailed"
	// GitSyncRefNotFound : Ready is False; the repository, branch, tag or commit does not exist.
	GitSyncRefNotFound = "RefNotFound"
	// GitSyncPathNotFound : Ready is False; the commit has no directory spec.path. Nothing was applied or pruned.
	GitSyncPathNotFound = "PathNotFound"
	// GitSyncBuildFailed : Ready is False; kustomize cannot build the path. Nothing was applied or pruned.
	GitSyncBuildFailed = "BuildFailed"
	// GitSyncBuildLimitExceeded : Ready is False; the build took more time, memory or files than one may, or broke the process that it
	// ran in. Nothing was applied or pruned. The same commit is built again after a minute, or the interval if that is longer; the wait
	// doubles up to an hour.
	GitSyncBuildLimitExceeded = "BuildLimitExceeded"
	// GitSyncApplyFailed : Ready is False; the API server refused an object. Nothing was pruned.
	GitSyncApplyFailed = "ApplyFailed"
	// GitSyncPruneFailed : Ready is False; all was applied, but an object that left git could not be deleted.
	GitSyncPruneFailed = "PruneFailed"
	// GitSyncRetrying : Reconciling is True; the last attempt failed and is repeated.
	GitSyncRetrying = "ProgressingWithRetry"
	// GitSyncApplying : Reconciling is True; a commit is being applied.
	GitSyncApplying = "Applying"
	// GitSyncDriftCorrected is the reason of the event that tells which objects were put back as git says.
	GitSyncDriftCorrected = "DriftCorrected"
	// GitSyncTemplateKept is the reason of the event that tells which targets keep the pod template that the deletion of their Canary gave
	// them, in the place of git's.
	GitSyncTemplateKept = "TemplateKept"
)

// Labels and annotations of GitSync.
const (
	// GitSyncNameLabel names, on every applied object, the GitSync that applied it.
	GitSyncNameLabel = "siskin.dev/gitsync-name"
	// GitSyncNamespaceLabel is the namespace of that GitSync.
	GitSyncNamespaceLabel = "siskin.dev/gitsync-namespace"
	// GitSyncReconcileAnnotation on a GitSync asks for a sync at once, with drift check; its value is a token of the
	// caller's choice, which status.lastHandledReconcile repeats.
	GitSyncReconcileAnnotation = "siskin.dev/reconcile"
	// GitSyncPruneAnnotation set to "disabled" on an object keeps GitSync from ever deleting it.
	GitSyncPruneAnnotation = "siskin.dev/prune"
	// GitSyncFinalizer lets a GitSync delete what it applied before it goes.
	GitSyncFinalizer = "siskin.dev/gitsync"
	// GitSyncFieldManager is the field manager of all that GitSync applies.
	GitSyncFieldManager = "siskin-gitsync"
)

// GitApplyLimit is how long rollouts wait for the end of an apply that GitApplyingAnnotation tells of.
const GitApplyLimit = 2 * time.Minute

// GitSyncStatus is what Siskin fetched and applied.
type GitSyncStatus struct {
	// observedGeneration is the generation of the spec that the conditions answer; it is set on success and on stall.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// revision is lastAppliedRevision with a short hash, for people.
	// +optional
	Revision string `json:"revision,omitempty"`
	// lastAppliedRevision is the revision that was applied completely, for example "main@sha1:<commit>".
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`
	// lastAttemptedRevision is the revision that was fetched last.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`
	// lastAppliedTime is when lastAppliedRevision was applied.
	// +optional
	LastAppliedTime *metav1.Time `json:"lastAppliedTime,omitempty"`
	// lastHandledReconcile repeats the token of the last handled annotation siskin.dev/reconcile.
	// +optional
	LastHandledReconcile string `json:"lastHandledReconcile,omitempty"`

	// commit is the commit of lastAppliedRevision.
	// +optional
	Commit *GitCommit `json:"commit,omitempty"`

	// inventory lists what this GitSync applied, or was about to apply when it last failed.
	// +optional
	Inventory *GitInventory `json:"inventory,omitempty"`

	// failures lists, at most 20, the objects that the last attempt could not apply or prune.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Failures []GitSyncFailure `json:"failures,omitempty"`

	// conditions: Ready, Reconciling and Stalled, as kstatus reads them.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GitCommit is one commit.
type GitCommit struct {
	// sha is the commit's hash.
	SHA string `json:"sha"`
	// author is the name of the author.
	// +optional
	Author string `json:"author,omitempty"`
	// email of the author.
	// +optional
	Email string `json:"email,omitempty"`
	// message is the first line of the message, at most 200 characters.
	// +optional
	Message string `json:"message,omitempty"`
	// time of the commit.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
}

// GitInventory lists objects.
type GitInventory struct {
	// entries, one for each object.
	// +listType=map
	// +listMapKey=id
	// +optional
	Entries []GitInventoryEntry `json:"entries,omitempty"`
}

// GitInventoryEntry is one object.
type GitInventoryEntry struct {
	// id is <namespace>_<name>_<group>_<kind>; namespace and group may be empty.
	ID string `json:"id"`
	// v is the version of its API.
	V string `json:"v"`
}

// GitSyncFailure is one object that could not be applied or pruned.
type GitSyncFailure struct {
	// object is kind, namespace and name, for example "Deployment prod/podinfo".
	Object string `json:"object"`
	// message is the reason in one line.
	// +optional
	Message string `json:"message,omitempty"`
}
