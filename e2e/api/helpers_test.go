package api_test

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func unstructuredIn(obj map[string]any, namespace string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: obj}
	u.SetNamespace(namespace)
	return u
}

func config(obj map[string]any, namespace string) runtime.ApplyConfiguration {
	return client.ApplyConfigurationFromUnstructured(unstructuredIn(obj, namespace))
}
