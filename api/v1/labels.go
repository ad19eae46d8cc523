package v1

// Labels and annotations that Siskin reads or writes. All live under the prefix siskin.dev/.
const (
	// RoleLabel tells primary from canary pods; it is part of the clones' selectors. Values: RolePrimary, RoleCanary.
	RoleLabel = "siskin.dev/role"
	// RolePrimary marks the pods that serve.
	RolePrimary = "primary"
	// RoleCanary marks the pods on trial.
	RoleCanary = "canary"

	// CloneLabel tells the pods of a Canary's clones from all others of the namespace; its value is the name of the Canary. It is part of
	// the selectors of the Services that Siskin generates, and of clones that were made with it.
	CloneLabel = "siskin.dev/clone"

	// CanaryLabel names, on every object that Siskin generates, the Canary that it belongs to.
	CanaryLabel = "siskin.dev/canary"

	// WrittenByAnnotation tells, on snapshots, the version of the API server that wrote the content.
	WrittenByAnnotation = "siskin.dev/written-by"
	// ImageAnnotation lists, on snapshots, the images of the containers, for people.
	ImageAnnotation = "siskin.dev/image"
	// RevisionAnnotation names, on clones, the snapshot (ControllerRevision) whose pod template they run.
	RevisionAnnotation = "siskin.dev/revision"
	// WholeAnnotation marks a clone that is created and replaced, and not applied, because the API server refuses to apply what it
	// creates: for example two variables of one name.
	WholeAnnotation = "siskin.dev/whole"
	// AppliedAnnotation is a digest of what Siskin last applied to an object, so that a field that was taken away is noticed.
	AppliedAnnotation = "siskin.dev/applied"
	// WrittenAnnotation is a digest of a route as Siskin wrote it: one that says something else by now was written by somebody else.
	WrittenAnnotation = "siskin.dev/written"
	// WrittenAtAnnotation is when Siskin wrote a route (RFC 3339), where the data plane tells nothing: it is given time to take it.
	WrittenAtAnnotation = "siskin.dev/written-at"

	// HeldAnnotation marks a target that Siskin holds at zero replicas; its value is the name of the Canary. A DaemonSet, which has no
	// replicas, and a Service that must lead nowhere get it as a selector too, with the value "true", which no node and no pod has.
	HeldAnnotation = "siskin.dev/held"
	// ReplicasAnnotation records, on a held target, the number of replicas that git or a person asked for.
	ReplicasAnnotation = "siskin.dev/replicas"
	// RestoredAnnotation names, on a target that a deletion of its Canary gave another content than it had, the promoted revision that it got.
	RestoredAnnotation = "siskin.dev/restored"
	// RestoredFromAnnotation keeps, on such a target, digests of the pod template that was written over and of the one that it got, by which
	// GitSync knows the former again.
	RestoredFromAnnotation = "siskin.dev/restored-from"
	// UnpausedAnnotation tells, on such a target, that its user has paused it, which is put back at the end of the deletion.
	UnpausedAnnotation = "siskin.dev/unpaused"

	// RequestAnnotation, on a Canary, is a person's request: promote, abort, retry, pause, resume or rollback, then optionally
	// "/<revision>" (not with pause and resume) and "@<token>", which makes a repeated request a new one.
	RequestAnnotation = "siskin.dev/request"
	// RequestedByAnnotation is who asked; an admission policy stamps it.
	RequestedByAnnotation = "siskin.dev/requested-by"

	// ScalesAnnotation marks an autoscaler that Siskin points at a clone; its value is the clone's name.
	ScalesAnnotation = "siskin.dev/scales"
	// LimitsAnnotation keeps, on such an autoscaler, the limits that git or a person asked for, as "min-max", and
	// LimitsHeldAnnotation those that Siskin wrote: whoever writes the former again gets the latter.
	LimitsAnnotation = "siskin.dev/limits"
	// LimitsHeldAnnotation : see LimitsAnnotation.
	LimitsHeldAnnotation = "siskin.dev/limits-held"
	// FloorAnnotation is the number of pods below which such an autoscaler must not go while a rollout lasts.
	FloorAnnotation = "siskin.dev/floor"
	// AutoscalerAnnotation keeps, as JSON, what else Siskin changed in such an autoscaler: KEDA's queries.
	AutoscalerAnnotation = "siskin.dev/autoscaler"
	// ConfigTrackingAnnotation set to "disabled" on a ConfigMap or Secret keeps its content out of the revision.
	ConfigTrackingAnnotation = "siskin.dev/config-tracking"

	// ConfigAnnotation records, on a snapshot that was written before configuration belonged to revisions, which ConfigMaps and
	// Secrets its pods read, and digests of their content, as JSON.
	ConfigAnnotation = "siskin.dev/config"
	// CopiedAnnotation tells, on a snapshot, that all ConfigMaps and Secrets that it reads were copied.
	CopiedAnnotation = "siskin.dev/copied"
	// CopyOfAnnotation names, on a copy of a ConfigMap or Secret, the original.
	CopyOfAnnotation = "siskin.dev/copy-of"

	// ServingAnnotation marks an adopted Service; its value is the role that the Service selects.
	ServingAnnotation = "siskin.dev/serving"
	// SelectorAnnotation keeps, as JSON, the selector that an adopted Service had before.
	SelectorAnnotation = "siskin.dev/selector"
	// PortsAnnotation keeps, as JSON, the ports that the author of an adopted Service wants, while Siskin has it serve others, and
	// LeftAnnotation the selector and the ports that Siskin wrote instead: whatever else is found there the author wrote since.
	PortsAnnotation = "siskin.dev/ports"
	// LeftAnnotation : see PortsAnnotation and RulesAnnotation.
	LeftAnnotation = "siskin.dev/left"
	// RulesAnnotation keeps, as JSON, the rules that the author of an adopted route wants; LeftAnnotation has digests of those that Siskin
	// made of them.
	RulesAnnotation = "siskin.dev/rules"
	// ViewAnnotation keeps, as JSON, on a snapshot the ports by which Services lead to the pods of that revision.
	ViewAnnotation = "siskin.dev/service"
	// RouteFinalizer keeps an adopted route that is deleted until another one carries its traffic.
	RouteFinalizer = "siskin.dev/route"
	// ClaimedAnnotation is never written: the cache shows by it who applied a Service or route that Siskin generated.
	ClaimedAnnotation = "siskin.dev/claimed-by"
	// AdoptAnnotation set to "disabled" on a Service or route keeps Siskin from adopting it.
	AdoptAnnotation = "siskin.dev/adopt"

	// FeaturesAnnotation on a Canary lists, separated by commas, features of the Gateway API (as in a GatewayClass's
	// status.supportedFeatures) that its Gateways or mesh have, for those of which Siskin cannot read it.
	FeaturesAnnotation = "siskin.dev/gateway-features"

	// GitApplyingAnnotation, on a workload that a Canary holds or is for, tells that GitSync is applying a commit that changes more than one of the
	// objects that the workload may be made of: the git revision, a space, and since when (RFC 3339).
	GitApplyingAnnotation = "siskin.dev/git-applying"
	// GitRevisionAnnotation is the git revision (branch@sha1:…) that an object was applied from.
	GitRevisionAnnotation = "siskin.dev/git-revision"
	// GitAuthorAnnotation is the author of that commit.
	GitAuthorAnnotation = "siskin.dev/git-author"
	// GitMessageAnnotation is the first line of that commit's message.
	GitMessageAnnotation = "siskin.dev/git-message"
	// GitURLAnnotation is the repository.
	GitURLAnnotation = "siskin.dev/git-url"

	// Finalizer lets Siskin give traffic and replicas back before a Canary goes away.
	Finalizer = "siskin.dev/canary"
	// FieldManager is the field manager of all that Siskin's Canary controller applies.
	FieldManager = "siskin"
)
