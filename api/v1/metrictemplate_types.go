package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MetricTemplate is a query for a metrics provider, shared by Canaries.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=siskin
// +kubebuilder:printcolumn:name="Provider",type=string,JSONPath=`.spec.provider.type`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type MetricTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the query and who answers it.
	// +required
	Spec MetricTemplateSpec `json:"spec"`
}

// MetricTemplateList is a list of MetricTemplates.
//
// +kubebuilder:object:root=true
type MetricTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []MetricTemplate `json:"items"`
}

// MetricTemplateSpec is a query and who answers it.
type MetricTemplateSpec struct {
	// provider answers the query.
	// +required
	Provider MetricProvider `json:"provider"`
	// query is a Go template over name, namespace, target, service, ingress, route, interval and variables.<key>,
	// for example {{ namespace }}.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=10000
	// +required
	Query string `json:"query"`
}

// MetricProvider is a metrics server and how to reach it.
type MetricProvider struct {
	// type of the provider.
	// +kubebuilder:validation:Enum=prometheus
	// +required
	Type string `json:"type"`
	// address of the server. Default: the controller's --metrics-server.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Address string `json:"address,omitempty"`
	// headers to send.
	// +kubebuilder:validation:MaxProperties=16
	// +optional
	Headers map[string][]string `json:"headers,omitempty"`
	// secretRef names a Secret with "token", or "username" and "password", and optionally "ca.crt".
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
	// insecureSkipVerify skips the verification of the server's certificate. Default false.
	// +optional
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
}
