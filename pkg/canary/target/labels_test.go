package target_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// kinds are a target of each kind that has pods.
func kinds() map[string]client.Object {
	d := deployment()
	meta, selector, template := d.ObjectMeta, d.Spec.Selector, d.Spec.Template
	return map[string]client.Object{
		target.Deployment:  d,
		target.DaemonSet:   &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		target.StatefulSet: &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
	}
}

func made(t *testing.T, obj client.Object) client.Object {
	t.Helper()
	c := canary()
	c.Spec.TargetRef.Kind = target.KindOf(obj)
	out, err := target.Clone(c, "primary", "r1", target.From(obj), 1)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unlabelled takes off a clone what an earlier Siskin did not know.
func unlabelled(obj client.Object) client.Object {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		delete(o.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
		delete(o.Spec.Template.Labels, siskinv1.CloneLabel)
	case *appsv1.DaemonSet:
		delete(o.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
		delete(o.Spec.Template.Labels, siskinv1.CloneLabel)
	case *appsv1.StatefulSet:
		delete(o.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
		delete(o.Spec.Template.Labels, siskinv1.CloneLabel)
	}
	return obj
}

func TestPodsOfAnEarlierCloneGetTheLabelOnlyWithARestart(t *testing.T) {
	for kind, obj := range kinds() {
		t.Run(kind, func(t *testing.T) {
			old := unlabelled(made(t, obj))
			quiet := made(t, obj)
			target.Over(quiet, old, false)
			if !target.Runs(old, quiet) {
				t.Error("it would restart the pods, or be seen as an edit")
			}
			if template, pods := target.Labelled(quiet, "web"); template || pods {
				t.Error("it has the label")
			}
			restarting := made(t, obj)
			target.Over(restarting, old, true)
			if template, _ := target.Labelled(restarting, "web"); !template || target.Runs(old, restarting) {
				t.Error("the next revision brings no label")
			}
			if refused := target.Unchangeable(obj, old); refused != nil {
				t.Errorf("a clone of an earlier Siskin: %v", refused)
			}
			diff := cmp.Diff(target.From(old).Workload.Selector, target.From(restarting).Workload.Selector)
			if diff != "" {
				t.Errorf("a selector cannot be changed: %s", diff)
			}
			fresh := made(t, obj)
			target.Over(fresh, made(t, obj), false)
			if template, pods := target.Labelled(fresh, "web"); !template || !pods {
				t.Error("a clone that has the label loses it")
			}
		})
	}
}

func TestPodsAreLabelledWhenNoneOfAnEarlierTemplateIsLeft(t *testing.T) {
	clone := func(edit func(*appsv1.Deployment)) *appsv1.Deployment {
		d := cloned(canary(), "primary", "r2", target.From(deployment()), 2)
		delete(d.Spec.Selector.MatchLabels, siskinv1.CloneLabel)
		d.Generation = 2
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: 2}
		edit(d)
		return d
	}
	for name, tc := range map[string]struct {
		edit           func(*appsv1.Deployment)
		template, pods bool
	}{
		"all replaced":      {func(*appsv1.Deployment) {}, true, true},
		"one left":          {func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, true, false},
		"one not yet there": {func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, true, false},
		"not looked at yet": {func(d *appsv1.Deployment) { d.Status.ObservedGeneration = 1 }, true, false},
		"of another Canary": {func(d *appsv1.Deployment) { d.Spec.Template.Labels[siskinv1.CloneLabel] = "else" }, false, false},
		"made with it": {func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels[siskinv1.CloneLabel], d.Status = "web", appsv1.DeploymentStatus{}
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if template, pods := target.Labelled(clone(tc.edit), "web"); template != tc.template || pods != tc.pods {
				t.Errorf("template %t, pods %t", template, pods)
			}
		})
	}
	svc := &corev1.Service{}
	target.Over(svc, svc, true)
	if template, pods := target.Labelled(svc, "web"); template || pods {
		t.Error("the pods of a Service are the user's")
	}
}

func TestLabelsThatSelectTheTarget(t *testing.T) {
	in := func(key string, values ...string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: values}
	}
	not := metav1.LabelSelectorRequirement{Key: "old", Operator: metav1.LabelSelectorOpDoesNotExist}
	exists := metav1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpExists}
	all := map[string]string{"app": "web", "tier": "front"}
	for name, tc := range map[string]struct {
		selector *metav1.LabelSelector
		want     map[string]string
	}{
		"labels":      {&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, map[string]string{"app": "web"}},
		"expressions": {&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{in("tier", "back", "front")}}, map[string]string{"tier": "front"}},
		"both": {&metav1.LabelSelector{
			MatchLabels: map[string]string{"app": "web"}, MatchExpressions: []metav1.LabelSelectorRequirement{in("tier", "front")},
		}, all},
		"exists":           {&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{exists}}, map[string]string{"app": "web"}},
		"only what is not": {&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{not}}, all},
		"none":             {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(func(d *appsv1.Deployment) { d.Spec.Selector = tc.selector })
			before := maps.Clone(d.Spec.Template.Labels)
			if diff := cmp.Diff(tc.want, target.From(d).SelectorLabels()); diff != "" {
				t.Error(diff)
			}
			if !maps.Equal(before, d.Spec.Template.Labels) || tc.selector != nil && len(tc.selector.MatchLabels) > 1 {
				t.Error("the target was changed")
			}
		})
	}
}

func TestPodsOfAClone(t *testing.T) {
	long := "a-name-of-a-deployment-that-is-longer-than-what-a-pod-keeps-of-it-primary"
	for name, tc := range map[string]struct {
		workload, kind, pod string
		want                bool
	}{
		"its own":        {"web-primary", "Pod", "web-primary-7d9c-x2x2x", true},
		"another's":      {"web-primary", "Pod", "admin-primary-7d9c-x2x2x", false},
		"the target's":   {"web-primary", "Pod", "web-7d9c-x2x2x", false},
		"cut off":        {long, "Pod", long[:58] + "x2x2x", true},
		"that is no pod": {"web-primary", "Node", "a", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := target.MadeBy(tc.workload, &corev1.ObjectReference{Kind: tc.kind, Name: tc.pod}); got != tc.want {
				t.Errorf("%t", got)
			}
		})
	}
	if !target.MadeBy("web-primary", nil) {
		t.Error("an endpoint that names no pod counts")
	}
}
