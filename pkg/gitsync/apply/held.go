package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// respect changes what is applied so that it leaves alone what Siskin's Canary controller holds at the moment: the replicas
// or nodes of a held target, the role in the selector of an adopted Service, the target of an autoscaler.
func respect(desired, live *unstructured.Unstructured) error {
	if live == nil {
		return nil
	}
	for _, f := range []func(desired, live *unstructured.Unstructured) error{respectReplicas, respectNodes, respectService, respectSelector, respectScaleTarget, respectScaler} {
		if err := f(desired, live); err != nil {
			return fmt.Errorf("leaving alone what a Canary holds: %w", err)
		}
	}
	return nil
}

// holdable tells whether a Canary may hold something of an object; such objects are written only as they were read.
func holdable(o *unstructured.Unstructured) bool {
	_, replicas, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas")
	_, target, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "scaleTargetRef")
	return replicas || target || isDaemonSet(o) || isRoute(o) || o.GroupVersionKind().Group == "" && o.GetKind() == "Service"
}

// respectReplicas leaves the replicas of a held workload as they are and tells the Canary controller the number that git
// asks for in an annotation.
//
// The field is left out if somebody else owns it. If we are its only owner, leaving it out would take it away, and the
// server's default of 1 would start pods of a version nobody judged: then the live value is sent.
func respectReplicas(desired, live *unstructured.Unstructured) error {
	if _, held := live.GetAnnotations()[siskinv1.HeldAnnotation]; !held || isDaemonSet(live) {
		return nil
	}
	wanted, inGit, err := unstructured.NestedInt64(desired.Object, "spec", "replicas")
	if err != nil {
		return fmt.Errorf("reading spec.replicas: %w", err)
	}
	recorded, isRecorded := live.GetAnnotations()[siskinv1.ReplicasAnnotation]
	switch {
	case inGit:
		annotate(desired, siskinv1.ReplicasAnnotation, strconv.FormatInt(wanted, 10))
	case recorded == "0" && owned(live, true, "f:metadata", "f:annotations", "f:"+siskinv1.ReplicasAnnotation):
		annotate(desired, siskinv1.ReplicasAnnotation, "1") // git gave the zero up: the server's default brings the app back
	case isRecorded && owned(live, true, "f:metadata", "f:annotations", "f:"+siskinv1.ReplicasAnnotation):
		annotate(desired, siskinv1.ReplicasAnnotation, recorded) // git gave the number up; the last one stays
	}
	mine, others := owned(live, true, "f:spec", "f:replicas"), owned(live, false, "f:spec", "f:replicas")
	now, isSet, err := unstructured.NestedInt64(live.Object, "spec", "replicas")
	if err != nil {
		return fmt.Errorf("reading spec.replicas of the cluster: %w", err)
	}
	if others || !isSet || !inGit && !mine {
		unstructured.RemoveNestedField(desired.Object, "spec", "replicas")
		return nil
	}
	return set(desired, now, "spec", "replicas")
}

// respectNodes keeps the node selector by which a held DaemonSet has no pods. The whole selector is one field, so that it goes beside
// what git has.
func respectNodes(desired, live *unstructured.Unstructured) error {
	if _, held := live.GetAnnotations()[siskinv1.HeldAnnotation]; !held || !isDaemonSet(live) {
		return nil
	}
	return set(desired, "true", "spec", "template", "spec", "nodeSelector", siskinv1.HeldAnnotation)
}

func isDaemonSet(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == "apps" && o.GetKind() == "DaemonSet"
}

// respectSelector keeps the role in the selector of a Service that Siskin has adopted.
func respectSelector(desired, live *unstructured.Unstructured) error {
	role, adopted := live.GetAnnotations()[siskinv1.ServingAnnotation]
	if !adopted || desired.GetKind() != "Service" || role == "" {
		return nil
	}
	selector, found, err := unstructured.NestedStringMap(desired.Object, "spec", "selector")
	if err != nil {
		return fmt.Errorf("reading spec.selector: %w", err)
	}
	if _, has := selector[siskinv1.RoleLabel]; !found || has {
		return nil
	}
	return set(desired, role, "spec", "selector", siskinv1.RoleLabel)
}

// respectScaleTarget keeps the target of an autoscaler that Siskin has pointed at the primary.
func respectScaleTarget(desired, live *unstructured.Unstructured) error {
	if _, pointed := live.GetAnnotations()[siskinv1.ScalesAnnotation]; !pointed {
		return nil
	}
	name, found, err := unstructured.NestedString(live.Object, "spec", "scaleTargetRef", "name")
	if err != nil {
		return fmt.Errorf("reading spec.scaleTargetRef.name of the cluster: %w", err)
	}
	if _, inGit, _ := unstructured.NestedFieldNoCopy(desired.Object, "spec", "scaleTargetRef"); !found || !inGit {
		return nil
	}
	return set(desired, name, "spec", "scaleTargetRef", "name")
}

func set(o *unstructured.Unstructured, value any, path ...string) error {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		return fmt.Errorf("setting %v: %w", path, err)
	}
	return nil
}

// owned tells whether GitSync (mine), or anybody else (!mine), owns the field of live at path, in the notation of
// managedFields.
func owned(live *unstructured.Unstructured, mine bool, path ...string) bool {
	return slices.ContainsFunc(live.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
		if isMine(e) != mine || e.FieldsV1 == nil {
			return false
		}
		var at map[string]any
		if json.Unmarshal(e.FieldsV1.GetRawBytes(), &at) != nil {
			return false
		}
		for _, key := range path {
			next, ok := at[key].(map[string]any)
			if !ok {
				return false
			}
			at = next
		}
		return true
	})
}

func annotate(o *unstructured.Unstructured, key, value string) {
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = value
	o.SetAnnotations(a)
}
