package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// RouterDefinition teaches Siskin a data plane without code: which object carries the split, which of its fields say
// what, and how its controller answers. The controller does not run definitions yet; siskin router verify does.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=siskin,shortName=rd
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.target.kind`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].message`,priority=1
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="the name is a value of spec.provider of a Canary, which has at most 63 characters"
type RouterDefinition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what there is to know of the data plane.
	// +required
	Spec RouterDefinitionSpec `json:"spec"`
	// status tells whether Siskin can use it.
	// +optional
	Status RouterDefinitionStatus `json:"status,omitzero"`
}

// RouterDefinitionList is a list of RouterDefinitions.
//
// +kubebuilder:object:root=true
type RouterDefinitionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []RouterDefinition `json:"items"`
}

// RouterDefinitionSpec is what there is to know of a data plane.
//
// +kubebuilder:validation:XValidation:rule="has(self.status) || has(self.settle)",message="nothing tells when the data plane follows: give status.accepted, or settle"
type RouterDefinitionSpec struct {
	// target is the kind of object that carries the split, and how it is found.
	// +required
	Target RouterTarget `json:"target"`
	// weights say a split by weight.
	// +required
	Weights RouterWeights `json:"weights"`
	// mirror says that requests are copied to the canary. Without it spec.analysis.mirror is refused.
	// +optional
	Mirror *RouterMirror `json:"mirror,omitempty"`
	// audience says that some requests go to the canary. Without it spec.analysis.match is refused.
	// +optional
	Audience *RouterAudience `json:"audience,omitempty"`
	// current is a CEL expression over the object as it is: a map with the weights "primary" and "canary", in any unit,
	// and optionally "mirror" (percent) and "audience" (bool). What leads to the apex counts as the primary's.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Current string `json:"current"`
	// status reads the answer of the data plane's controller. Without it the object counts as accepted when settle is
	// over.
	// +optional
	Status *RouterAnswer `json:"status,omitempty"`
	// settle is how long the data plane is given to take what was written, counted from the write, before it counts as
	// accepted. At most 10 minutes. Default 0s; it is required where there is no status.
	// +kubebuilder:validation:Pattern=`^([0-9]{1,5}(m|s|ms)){1,3}$`
	// +optional
	Settle string `json:"settle,omitempty"`
	// fixtures show what the definition does. `siskin router verify` runs them.
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	// +optional
	Fixtures []RouterFixture `json:"fixtures,omitempty"`
}

// RouterTarget is a kind of object that carries the split. Siskin writes one object of it, in the Canary's namespace,
// that its author made; it makes and deletes none.
//
// +kubebuilder:validation:XValidation:rule="!(self.apiVersion.split('/')[0] in ['apps', 'siskin.dev', 'rbac.authorization.k8s.io', 'admissionregistration.k8s.io', 'apiextensions.k8s.io'])",message="objects of this group are no routes"
type RouterTarget struct {
	// apiVersion of the object, for example "traefik.io/v1alpha1". Those of the core group are no routes.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9.-]+/v[0-9][a-z0-9]*$`
	// +required
	APIVersion string `json:"apiVersion"`
	// kind of the object, for example "TraefikService". It is namespaced.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Z][A-Za-z0-9]*$`
	// +required
	Kind string `json:"kind"`
	// resource is the plural name by which RBAC knows the kind, for example "traefikservices". Siskin needs get, list,
	// watch and patch.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z][a-z0-9]*$`
	// +required
	Resource string `json:"resource"`
	// nameFrom tells which object of the Canary's namespace it is. RouteRef: the one that spec.routeRef of the Canary
	// names, which must be given. Apex: the one that is named like the apex Service, unless spec.routeRef names another.
	// Default Apex.
	// +kubebuilder:validation:Enum=Apex;RouteRef
	// +kubebuilder:default=Apex
	// +optional
	NameFrom string `json:"nameFrom,omitempty"`
	// writes are JSON pointers to all that the definition may write: below /spec, or an annotation. {apex} stands for
	// the name of the apex Service.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	// +required
	Writes []string `json:"writes"`
}

// RouterField is a field of the object and what it is to say.
type RouterField struct {
	// pointer is a JSON pointer to the field, at or below one of target.writes. Lists are fields as a whole.
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=256
	// +required
	Pointer string `json:"pointer"`
	// value is a CEL expression; null takes the field away. self is what the field says without it: what its author
	// wants, or what the fields before made of it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Value string `json:"value"`
}

// RouterWeights say a split by weight.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sum) || self.sum % 100 == 0",message="sum must be a multiple of 100, so that every whole percentage is a whole weight"
type RouterWeights struct {
	// sum of both weights: a multiple of 100. Default 100.
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=1000000
	// +kubebuilder:default=100
	// +optional
	Sum int32 `json:"sum,omitempty"`
	// fields that say the weights. They are written at every split, 100/0 and 0/100 among them.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=pointer
	// +required
	Fields []RouterField `json:"fields"`
}

// RouterMirror says that requests are copied to the canary.
type RouterMirror struct {
	// part tells that a part of the requests can be copied, and not only all of them. Default false.
	// +optional
	Part bool `json:"part,omitempty"`
	// fields that say it, after those of weights.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=pointer
	// +required
	Fields []RouterField `json:"fields"`
}

// RouterAudience says that some requests go to the canary.
//
// +kubebuilder:validation:XValidation:rule="has(self.headers) || has(self.cookies)",message="nothing can be selected by: give headers or cookies"
type RouterAudience struct {
	// headers are the ways in which the value of a header can be compared. None: headers cannot be selected by.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=Exact;Prefix;Suffix;Regex
	// +listType=set
	// +optional
	Headers []string `json:"headers,omitempty"`
	// cookies are the ways in which the value of a cookie can be compared. None: cookies cannot be selected by.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=Exact;Prefix;Suffix;Regex
	// +listType=set
	// +optional
	Cookies []string `json:"cookies,omitempty"`
	// fields that say it, after those of weights and mirror.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=pointer
	// +required
	Fields []RouterField `json:"fields"`
}

// RouterAnswer reads the answer of a data plane's controller: CEL expressions over the object as it is.
type RouterAnswer struct {
	// accepted is true when the controller took this generation of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Accepted string `json:"accepted"`
	// rejected is true when the controller refused this generation, so that waiting does not help. Default: never.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Rejected string `json:"rejected,omitempty"`
	// message is what the controller says, for people. Default: nothing.
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	Message string `json:"message,omitempty"`
}

// RouterFixture is an object of its author's, a split, and what becomes of it. Services are named finch,
// finch-primary and finch-canary, and the namespace is aviary, port 80.
//
// +kubebuilder:validation:XValidation:rule="has(self.expected) || has(self.evidence)",message="nothing is expected: give expected or evidence"
type RouterFixture struct {
	// name of the fixture.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`
	// object is what its author made. With evidence, it is what the data plane's controller answered to.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +required
	Object runtime.RawExtension `json:"object"`
	// canary is its share in percent. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Canary int32 `json:"canary,omitempty"`
	// mirror is the percentage of the primary's requests that is copied. Default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	Mirror int32 `json:"mirror,omitempty"`
	// match selects the requests that go to the canary, as spec.analysis.match of a Canary does.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +optional
	Match []RequestMatch `json:"match,omitempty"`
	// expected is the whole object with the split.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	Expected *runtime.RawExtension `json:"expected,omitempty"`
	// evidence is how the controller's answer in object is to be read.
	// +kubebuilder:validation:Enum=Written;Accepted;Rejected
	// +optional
	Evidence string `json:"evidence,omitempty"`
}

// RouterDefinitionStatus tells whether Siskin can use a definition.
type RouterDefinitionStatus struct {
	// conditions: Accepted.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ConditionAccepted of a RouterDefinition: its expressions are valid, and Canaries can name it.
const ConditionAccepted = "Accepted"
