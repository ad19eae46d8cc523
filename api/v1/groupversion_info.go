// Package v1 holds the API of Siskin: Canary, MetricTemplate, AlertProvider, GitSync and RouterDefinition.
//
// Field names follow Flagger's flagger.app/v1beta1 where the meaning is the same; docs/flagger.md lists where it is not.
//
// +kubebuilder:object:generate=true
// +groupName=siskin.dev
package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of every type of this package.
	GroupVersion = schema.GroupVersion{Group: "siskin.dev", Version: "v1"}

	// SchemeBuilder registers the types of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds the types of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&Canary{}, &CanaryList{},
		&MetricTemplate{}, &MetricTemplateList{},
		&AlertProvider{}, &AlertProviderList{},
		&GitSync{}, &GitSyncList{},
		&RouterDefinition{}, &RouterDefinitionList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
