package target_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func TestWhatClonesGetOfTheTargetsMetadata(t *testing.T) {
	given := map[string]string{
		"example.org/team": "birds", "plain": "1", "kubernetes.io/change-cause": "a fix", "app.kubernetes.io/managed-by": "Helm",
		"kubectl.kubernetes.io/last-applied-configuration": "{}", "deployment.kubernetes.io/revision": "4", "siskin.dev/held": "web",
		"deprecated.daemonset.template.generation": "2", "argocd.argoproj.io/tracking-id": "a", "kustomize.toolkit.fluxcd.io/name": "a",
		"meta.helm.sh/release-name": "a", "helm.sh/hook": "a", "kapp.k14s.io/app": "a", "app.kubernetes.io/instance": "a",
		"internal.config.kubernetes.io/index": "1", "field.cattle.io/publicEndpoints": "[]", "reloader.stakater.com/auto": "true",
		"configmap.reloader.stakater.com/reload": "settings", "keel.sh/policy": "all", "downscaler/uptime": "always",
	}
	want := map[string]string{
		"example.org/team": "birds", "plain": "1", "kubernetes.io/change-cause": "a fix", "app.kubernetes.io/managed-by": "Helm",
	}
	w := target.From(deployment(func(d *appsv1.Deployment) { d.Labels, d.Annotations = given, given })).Workload
	for what, got := range map[string]map[string]string{"labels": w.Labels, "annotations": w.Annotations} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
	}
	for name, tc := range map[string]struct {
		prefixes []string
		want     map[string]string
	}{
		"all":            {[]string{"*"}, want},
		"nothing given":  {nil, want},
		"some":           {[]string{"example.org/", "pl"}, map[string]string{"example.org/team": "birds", "plain": "1"}},
		"none there":     {[]string{"x"}, map[string]string{}},
		"all and others": {[]string{"x", "*"}, want},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.Only(tc.prefixes)
			if diff := cmp.Diff(tc.want, got.Labels); diff != "" {
				t.Errorf("labels: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, got.Annotations); diff != "" {
				t.Errorf("annotations: -want +got\n%s", diff)
			}
		})
	}
}

func TestACloneKeepsWhatTheTargetHas(t *testing.T) {
	with := func(edit func(*appsv1.Deployment)) *appsv1.Deployment {
		d := deployment(defaulted, func(d *appsv1.Deployment) {
			d.Annotations, d.Labels = map[string]string{"team": "birds", "old": "1"}, map[string]string{"app": "web"}
		})
		edit(d)
		return d
	}
	now := with(func(*appsv1.Deployment) {})
	surge := intstr.FromInt32(2)
	for name, tc := range map[string]struct {
		was, clone func(*appsv1.Deployment)
		want       bool
	}{
		"nothing":                 {nil, nil, true},
		"an annotation more":      {func(d *appsv1.Deployment) { delete(d.Annotations, "team") }, nil, false},
		"another value":           {func(d *appsv1.Deployment) { d.Labels["app"] = "else" }, nil, false},
		"a label less":            {func(d *appsv1.Deployment) { d.Labels["more"] = "1" }, nil, false},
		"minReadySeconds":         {func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 1 }, nil, false},
		"progressDeadlineSeconds": {func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = new(int32(9)) }, nil, false},
		"revisionHistoryLimit":    {func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = new(int32(9)) }, nil, false},
		"strategy":                {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType }, nil, false},
		"maxSurge added by default": {nil, func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge}
		}, true},
		"what others added": {nil, func(d *appsv1.Deployment) { d.Annotations["theirs"], d.Labels["theirs"] = "1", "1" }, true},
		"from before the digest": {func(d *appsv1.Deployment) { d.Labels["more"] = "1" }, func(d *appsv1.Deployment) {
			delete(d.Annotations, siskinv1.AppliedAnnotation)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			nothing := func(*appsv1.Deployment) {}
			if tc.was == nil {
				tc.was = nothing
			}
			live := clone(with(tc.was), "primary")
			if tc.clone != nil {
				tc.clone(live)
			}
			if got := target.Keeps(live, clone(now, "primary")); got != tc.want {
				t.Errorf("%t", got)
			}
			if !target.Runs(live, clone(now, "primary")) {
				t.Error("it is no part of the revision")
			}
		})
	}
	for kind, obj := range kinds() {
		if !target.Keeps(made(t, obj), made(t, obj)) {
			t.Errorf("%s: a clone differs from itself", kind)
		}
	}
}
