package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AlertProvider is a place to which notices go.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=siskin
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AlertProvider struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the place and how to reach it.
	// +required
	Spec AlertProviderSpec `json:"spec"`
}

// AlertProviderList is a list of AlertProviders.
//
// +kubebuilder:object:root=true
type AlertProviderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AlertProvider `json:"items"`
}

// AlertProviderSpec is a place for notices and how to reach it.
//
// +kubebuilder:validation:XValidation:rule="has(self.address) || has(self.secretRef)",message="give address or secretRef"
type AlertProviderSpec struct {
	// type of the provider.
	// +kubebuilder:validation:Enum=slack
	// +required
	Type string `json:"type"`
	// channel for the notices. Default "general"; an incoming webhook has a channel of its own.
	// +kubebuilder:validation:MaxLength=200
	// +optional
	Channel string `json:"channel,omitempty"`
	// username shown with the notices. Default "siskin".
	// +kubebuilder:validation:MaxLength=200
	// +optional
	Username string `json:"username,omitempty"`
	// address of the incoming webhook, or of the Web API when the Secret holds a bot token. Default for a token:
	// https://slack.com/api/.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Address string `json:"address,omitempty"`
	// proxy for the connection, as an URL.
	// +kubebuilder:validation:MaxLength=2048
	// +optional
	Proxy string `json:"proxy,omitempty"`
	// secretRef names a Secret with "address" (incoming webhook) or "token" (bot token), or both.
	// +optional
	SecretRef *SecretRef `json:"secretRef,omitempty"`
}
