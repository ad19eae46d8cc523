package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Canary releases each new version of a workload step by step to real traffic, judges every step, promotes what is good
// and takes back what is bad.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=siskin;all,shortName=cn
// +kubebuilder:printcolumn:name="Status",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Weight",type=integer,JSONPath=`.status.canaryWeight`
// +kubebuilder:printcolumn:name="Step",type=string,JSONPath=`.status.step.summary`
// +kubebuilder:printcolumn:name="Revision",type=string,JSONPath=`.status.canary.revision`
// +kubebuilder:printcolumn:name="Stable",type=string,JSONPath=`.status.stable.revision`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failedChecks`,priority=1
// +kubebuilder:printcolumn:name="Suspended",type=boolean,JSONPath=`.spec.suspend`,priority=1
//
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.stable) || (has(self.spec.provider) == has(oldSelf.spec.provider) && (!has(self.spec.provider) || self.spec.provider == oldSelf.spec.provider || [self.spec.provider, oldSelf.spec.provider].all(p, p in ['gatewayapi', 'gatewayapi:v1', 'gatewayapi:v1beta1'])))",message="provider cannot be changed while Siskin routes the traffic: delete the Canary (the target is restored) and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.stable) || (has(self.spec.service.name) == has(oldSelf.spec.service.name) && (!has(self.spec.service.name) || self.spec.service.name == oldSelf.spec.service.name))",message="service.name cannot be changed while Siskin routes the traffic: delete the Canary (the target is restored) and create a new one"
type Canary struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	// +required
	Spec CanarySpec `json:"spec"`
	// status is what Siskin observed and decided.
	// +optional
	Status CanaryStatus `json:"status,omitzero"`
}

// CanaryList is a list of Canaries.
//
// +kubebuilder:object:root=true
type CanaryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Canary `json:"items"`
}

// CanarySpec is what the user wants of a Canary.
//
// +kubebuilder:validation:XValidation:rule="self.targetRef == oldSelf.targetRef",message="targetRef cannot be changed: delete the Canary (the target is restored) and create a new one"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || self.provider != 'kubernetes' || has(self.analysis.iterations) || (has(self.skipAnalysis) && self.skipAnalysis)",message="provider kubernetes cannot split traffic by weight: use analysis.iterations (blue/green), or a provider that can, such as gatewayapi"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || self.provider != 'kubernetes' || !(has(self.analysis.match) || (has(self.analysis.mirror) && self.analysis.mirror) || has(self.analysis.sessionAffinity))",message="provider kubernetes cannot select requests, mirror or keep sessions: leave analysis.match, analysis.mirror and analysis.sessionAffinity out, or use a provider that can, such as gatewayapi"
// +kubebuilder:validation:XValidation:rule="self.targetRef.kind != 'Service' || !has(self.provider) || self.provider != 'kubernetes'",message="a target of kind Service needs a provider that routes between Services, such as gatewayapi"
// +kubebuilder:validation:XValidation:rule="!has(self.autoscalerRef) || self.targetRef.kind in ['Deployment', 'StatefulSet']",message="only a Deployment or a StatefulSet has an autoscaler: leave autoscalerRef out"
// +kubebuilder:validation:XValidation:rule="self.targetRef.kind in ['Deployment', 'StatefulSet'] || !has(self.analysis.canaryReplicas)",message="only a Deployment or a StatefulSet has a number of replicas: leave analysis.canaryReplicas out"
type CanarySpec struct {
	// targetRef names the workload that git or a person writes. It is only a template: Siskin clones it into
	// <name>-primary and <name>-canary and holds it at zero replicas.
	// +required
	TargetRef TargetRef `json:"targetRef"`

	// autoscalerRef names the autoscaler of the target. Siskin points it at the primary, keeps it from shrinking the primary during
	// a rollout, and points it back when the Canary is deleted.
	// +optional
	AutoscalerRef *AutoscalerRef `json:"autoscalerRef,omitempty"`

	// provider is the traffic router: "gatewayapi", "istio" or "kubernetes". "gatewayapi:v1" and "gatewayapi:v1beta1" are other names
	// of "gatewayapi". Default: the controller's --default-provider.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Provider string `json:"provider,omitempty"`

	// metricsServer is the address of the Prometheus that answers the built-in metrics.
	// Default: the controller's --metrics-server.
	// +kubebuilder:validation:Pattern=`^https?://.+`
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	MetricsServer string `json:"metricsServer,omitempty"`

	// routeRef names the object that carries the traffic, where the provider is a RouterDefinition. The controller does not run
	// those yet: it has no use so far.
	// +optional
	RouteRef *RouteRef `json:"routeRef,omitempty"`

	// service tells how the app is reached.
	// +required
	Service CanaryService `json:"service"`

	// analysis tells how a new version is released and judged.
	// +required
	Analysis CanaryAnalysis `json:"analysis"`

	// progressDeadlineSeconds bounds every wait of a rollout that has no deadline of its own: pods that do not become ready,
	// routes that are not accepted, metrics without data. When it passes, the rollout is rolled back. Default 600.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// skipAnalysis promotes a new version as soon as its pods are ready, without steps and checks. Default false.
	// +optional
	SkipAnalysis bool `json:"skipAnalysis,omitempty"`

	// suspend stops Siskin from doing anything for this Canary; traffic stays where it is. Default false.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// revertOnDeletion is accepted for Flagger's manifests; Siskin always restores unless deletionPolicy is Orphan.
	// +optional
	RevertOnDeletion bool `json:"revertOnDeletion,omitempty"`

	// deletionPolicy tells what happens when the Canary is deleted. Restore brings the target back to full size, gives
	// Service and routes back, then removes the clones. Orphan leaves everything as it is. Default Restore.
	// +kubebuilder:validation:Enum=Restore;Orphan
	// +kubebuilder:default=Restore
	// +optional
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// RouteRef names an object of the Canary's namespace that carries its traffic.
type RouteRef struct {
	// apiVersion of the object. Default: that of the RouterDefinition.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// kind of the object. Default: that of the RouterDefinition.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Kind string `json:"kind,omitempty"`
	// name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
}

// DeletionPolicy tells what happens when a Canary is deleted.
type DeletionPolicy string

const (
	// DeletionPolicyRestore gives everything back before the Canary goes.
	DeletionPolicyRestore DeletionPolicy = "Restore"
	// DeletionPolicyOrphan leaves clones, Services and routes as they are.
	DeletionPolicyOrphan DeletionPolicy = "Orphan"
)

// TargetRef names a workload in the Canary's namespace.
type TargetRef struct {
	// apiVersion of the workload. Default apps/v1.
	// +kubebuilder:default="apps/v1"
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// kind of the workload. A StatefulSet must not have volumeClaimTemplates. With Service the pods are the user's own: Siskin
	// clones the Service, and a new revision is a change of its spec.
	// +kubebuilder:validation:Enum=Deployment;DaemonSet;StatefulSet;Service
	// +required
	Kind string `json:"kind"`
	// name of the workload.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
}

// AutoscalerRef names an autoscaler in the Canary's namespace.
type AutoscalerRef struct {
	// apiVersion of the autoscaler. Default: autoscaling/v2 or keda.sh/v1alpha1, by kind.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`
	// kind of the autoscaler.
	// +kubebuilder:validation:Enum=HorizontalPodAutoscaler;ScaledObject
	// +required
	Kind string `json:"kind"`
	// name of the autoscaler.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`
	// primaryScalerQueries replace the queries of a ScaledObject's triggers, by the triggers' names. Default: what
	// names the target as a workload, or by its pods, in a query names the primary.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	PrimaryScalerQueries map[string]string `json:"primaryScalerQueries,omitempty"`
	// primaryScalerReplicas replace the limits of the autoscaler. Default: the autoscaler's own.
	// +optional
	PrimaryScalerReplicas *ScalerReplicas `json:"primaryScalerReplicas,omitempty"`
	// canary gives the canary an autoscaler of its own, a copy with these limits. Default: the canary is sized by
	// analysis.canaryReplicas.
	// +optional
	Canary *ScalerReplicas `json:"canary,omitempty"`
}

// ScalerReplicas are the limits of an autoscaler.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",message="minReplicas must not be larger than maxReplicas"
type ScalerReplicas struct {
	// minReplicas is the least number of pods.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	// maxReplicas is the largest number of pods.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
}

// CanaryService tells how the app is reached: the Services and the route that Siskin generates.
type CanaryService struct {
	// name of the apex Service, the name clients use. Default: the target's name. An existing Service is adopted: its own
	// selector and ports stay.
	// +kubebuilder:validation:MaxLength=56
	// +optional
	Name string `json:"name,omitempty"`

	// port that the Services serve. Default: the ports of the existing apex Service; without one it is required.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`

	// portName is the name of that port. Default "http".
	// +kubebuilder:validation:MaxLength=15
	// +optional
	PortName string `json:"portName,omitempty"`

	// targetPort is the container's port, by number or name. Default: port.
	// +optional
	TargetPort *intstr.IntOrString `json:"targetPort,omitempty"`

	// appProtocol of the port, for example "http", "grpc" or "kubernetes.io/h2c".
	// +kubebuilder:validation:MaxLength=63
	// +optional
	AppProtocol string `json:"appProtocol,omitempty"`

	// portDiscovery adds every other port of the target's containers to the Services. Default false.
	// +optional
	PortDiscovery bool `json:"portDiscovery,omitempty"`

	// hosts are the hostnames of the generated route. Default: all.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Hosts []string `json:"hosts,omitempty"`

	// gatewayRefs are the parents of the generated HTTPRoute: Gateways, or Services for a mesh (GAMMA). It needs one; an adopted HTTPRoute
	// has its own.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	GatewayRefs []gatewayv1.ParentReference `json:"gatewayRefs,omitempty"`

	// gateways are those of the generated VirtualService, as "name" or "namespace/name"; "mesh" is all sidecars. Default: mesh. Istio only.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Gateways []string `json:"gateways,omitempty"`

	// delegation generates a VirtualService without hosts and gateways, for one of yours that delegates to it. Default false.
	// Istio only.
	// +optional
	Delegation bool `json:"delegation,omitempty"`

	// trafficPolicy of the DestinationRules of primary and canary. Istio only.
	// +optional
	TrafficPolicy *TrafficPolicy `json:"trafficPolicy,omitempty"`

	// retries of requests that failed. Default: the router's. Istio only.
	// +optional
	Retries *Retries `json:"retries,omitempty"`

	// corsPolicy lets browsers ask from pages of other origins. Istio only.
	// +optional
	CorsPolicy *CorsPolicy `json:"corsPolicy,omitempty"`

	// match narrows the generated route to some requests. Default: all paths.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Match []RequestMatch `json:"match,omitempty"`

	// rewrite changes path or host of the request before it reaches the app.
	// +optional
	Rewrite *Rewrite `json:"rewrite,omitempty"`

	// headers adds, sets or removes headers of requests and responses.
	// +optional
	Headers *Headers `json:"headers,omitempty"`

	// mirror copies all requests, to whichever version they go, to other backends, whose answers nobody sees. It has nothing to do
	// with analysis.mirror. The requests must be safe to be done twice.
	// +kubebuilder:validation:MaxItems=4
	// +listType=atomic
	// +optional
	Mirror []gatewayv1.HTTPRequestMirrorFilter `json:"mirror,omitempty"`

	// timeout of a whole request, for example "15s". Default: the router's.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +optional
	Timeout string `json:"timeout,omitempty"`

	// backendTimeout of one attempt to a backend. Default: the router's.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(h|m|s|ms)){1,4}$`
	// +optional
	BackendTimeout string `json:"backendTimeout,omitempty"`

	// apex is metadata for the apex Service and the route.
	// +optional
	Apex *Metadata `json:"apex,omitempty"`
	// primary is metadata for the Service <name>-primary.
	// +optional
	Primary *Metadata `json:"primary,omitempty"`
	// canary is metadata for the Service <name>-canary.
	// +optional
	Canary *Metadata `json:"canary,omitempty"`
}

// Metadata is put on a generated object.
type Metadata struct {
	// labels to add.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// annotations to add.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// RequestMatch selects requests; all parts that are given must match.
type RequestMatch struct {
	// uri is the path.
	// +optional
	URI *StringMatch `json:"uri,omitempty"`
	// method is the HTTP method, for example {"exact": "GET"}.
	// +optional
	Method *StringMatch `json:"method,omitempty"`
	// headers by name.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Headers map[string]StringMatch `json:"headers,omitempty"`
	// cookies by name.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Cookies map[string]StringMatch `json:"cookies,omitempty"`
	// queryParams by name.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	QueryParams map[string]StringMatch `json:"queryParams,omitempty"`

	// name of the entry, for people. It selects nothing.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`

	// The rest only Istio can do; other routers refuse it by its name, and do not drop it without a word.

	// ignoreUriCase lets the case of uri.exact and uri.prefix not count. Elsewhere give uri.regex with (?i).
	// +optional
	IgnoreURICase bool `json:"ignoreUriCase,omitempty"`
	// withoutHeaders are headers that the request must not have, or not with that value.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	WithoutHeaders map[string]StringMatch `json:"withoutHeaders,omitempty"`
	// scheme of the URL. For gatewayapi attach to the listener of that protocol with service.gatewayRefs[].sectionName.
	// +optional
	Scheme *StringMatch `json:"scheme,omitempty"`
	// authority is the host that was asked for. Elsewhere give service.hosts.
	// +optional
	Authority *StringMatch `json:"authority,omitempty"`
	// port that was asked for. For gatewayapi attach to the listener of that port with service.gatewayRefs[].port.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	// +optional
	Port int32 `json:"port,omitempty"`
	// sourceLabels are labels of the client's pod, in the mesh. Elsewhere give a header.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	SourceLabels map[string]string `json:"sourceLabels,omitempty"`
	// sourceNamespace is that of the client's pod, in the mesh. Elsewhere give a header.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	SourceNamespace string `json:"sourceNamespace,omitempty"`
	// gateways that the request comes through, some of service.gateways. For gatewayapi give service.gatewayRefs.
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=atomic
	// +optional
	Gateways []string `json:"gateways,omitempty"`
}

// StringMatch matches a string in one way.
//
// +kubebuilder:validation:XValidation:rule="[has(self.exact), has(self.prefix), has(self.suffix), has(self.regex)].filter(x, x).size() == 1",message="give exactly one of exact, prefix, suffix, regex"
type StringMatch struct {
	// exact value.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Exact string `json:"exact,omitempty"`
	// prefix of the value.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// suffix of the value.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Suffix string `json:"suffix,omitempty"`
	// regex that the value matches, in the router's dialect.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Regex string `json:"regex,omitempty"`
}

// Rewrite changes a request before it reaches the app.
type Rewrite struct {
	// uri replaces the path.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	URI string `json:"uri,omitempty"`
	// authority replaces the host.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Authority string `json:"authority,omitempty"`
	// type is ReplaceFullPath or ReplacePrefixMatch. Default ReplaceFullPath; with Istio, as Istio does it: what uri.exact or uri.prefix
	// of service.match matched is replaced.
	// +kubebuilder:validation:Enum=ReplaceFullPath;ReplacePrefixMatch
	// +optional
	Type string `json:"type,omitempty"`
}

// Headers changes headers.
type Headers struct {
	// request headers, on their way to the app.
	// +optional
	Request *HeaderOperations `json:"request,omitempty"`
	// response headers, on their way to the client.
	// +optional
	Response *HeaderOperations `json:"response,omitempty"`
}

// HeaderOperations are done in the order set, add, remove.
type HeaderOperations struct {
	// set overwrites.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Set map[string]string `json:"set,omitempty"`
	// add appends.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Add map[string]string `json:"add,omitempty"`
	// remove deletes.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=atomic
	// +optional
	Remove []string `json:"remove,omitempty"`
}
