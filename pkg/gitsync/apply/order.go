package apply

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// rank orders kinds for applying; pruning goes the other way round. What others refer to comes first, what acts on others
// (autoscalers, Canaries, webhooks) comes last.
func rank(kind string) int {
	first := []string{
		"Namespace", "CustomResourceDefinition", "ClusterRole", "ResourceQuota", "LimitRange", "StorageClass", "PriorityClass",
		"ServiceAccount", "Role", "ClusterRoleBinding", "RoleBinding", "ConfigMap", "Secret", "PersistentVolume",
		"PersistentVolumeClaim", "Service", "NetworkPolicy", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob",
	}
	last := []string{"HorizontalPodAutoscaler", "ScaledObject", "PodDisruptionBudget", "Ingress", "Canary", "GitSync", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
	if i := slices.Index(first, kind); i >= 0 {
		return i
	}
	if i := slices.Index(last, kind); i >= 0 {
		return len(first) + 1 + i
	}
	return len(first)
}

func compareKinds(a, b string) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

func sorted(objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	out := slices.Clone(objs)
	slices.SortFunc(out, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(compareKinds(a.GetKind(), b.GetKind()), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

func isCRD(gk schema.GroupKind) bool {
	return gk == schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
}

// isFoundation tells whether objects of other kinds may need this one before the API server takes them.
func isFoundation(gk schema.GroupKind) bool {
	return isCRD(gk) || gk == schema.GroupKind{Kind: "Namespace"} || gk == schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}
}
