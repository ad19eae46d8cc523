package service

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// HolderOf names the Canary that has adopted svc, if the selector that the author of svc wants selects pods with these labels; else "".
func HolderOf(svc *corev1.Service, podLabels map[string]string) string {
	if !marked(svc) || !feeds(svc, podLabels) {
		return ""
	}
	return heldBy(svc)
}

// PodLabels are the labels of the pods that a Deployment, a StatefulSet or a DaemonSet makes; nil of anything else.
func PodLabels(obj client.Object) map[string]string {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template.Labels
	case *appsv1.StatefulSet:
		return o.Spec.Template.Labels
	case *appsv1.DaemonSet:
		return o.Spec.Template.Labels
	}
	return nil
}

// otherWorkload returns kind and name of a workload whose pods svc would select, and that is neither the target nor a clone of it, or
// "". How many pods it has does not count: it may be at zero for the night.
func (a *Applier) otherWorkload(ctx context.Context, in In, svc *corev1.Service) (string, error) {
	selector := labels.SelectorFromSet(withoutRole(original(svc)))
	target := in.Canary.Spec.TargetRef
	var found []string
	see := func(kind string, obj client.Object) {
		own := (kind == target.Kind && obj.GetName() == target.Name) || obj.GetLabels()[siskinv1.CanaryLabel] == in.Canary.Name
		if !own && selector.Matches(labels.Set(PodLabels(obj))) {
			found = append(found, kind+" "+obj.GetName())
		}
	}
	var deployments appsv1.DeploymentList
	var statefulSets appsv1.StatefulSetList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
		// To wait until the cache has seen what was just written would make each rollout wait for all.
		err := a.c.List(ctx, list, client.InNamespace(in.Canary.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
		if err != nil {
			return "", fmt.Errorf("listing the workloads behind Service %s: %w", svc.Name, err)
		}
	}
	for i := range deployments.Items {
		see("Deployment", &deployments.Items[i])
	}
	for i := range statefulSets.Items {
		see("StatefulSet", &statefulSets.Items[i])
	}
	for i := range daemonSets.Items {
		see("DaemonSet", &daemonSets.Items[i])
	}
	if len(found) == 0 {
		return "", nil
	}
	return slices.Min(found), nil
}
