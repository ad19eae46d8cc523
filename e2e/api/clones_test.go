package api_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// switched is a release by the apex Service, without a gateway.
const switched = `    interval: 1s
    threshold: 1
    iterations: 1`

// kubectl runs kubectl on a manifest in the story's namespace.
func kubectl(s *fixtures.Story, manifest string, args ...string) {
	s.Helper()
	file := filepath.Join(s.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		s.Fatal(err)
	}
	if out, err := s.Kubectl(s.Context(), append(args, "-n", s.NS, "-f", file)...); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

func promoted(s *fixtures.Story, version string) {
	s.Helper()
	s.When(time.Minute, func(c *siskinv1.Canary) string {
		if c.Status.Phase != siskinv1.PhaseSucceeded || c.Status.Stable == nil || !strings.HasSuffix(c.Status.Stable.Image, ":"+version) {
			return version + " is not promoted: " + c.Status.Message
		}
		return ""
	})
}

// pods are the names of a clone's pods, but for those that go.
func pods(s *fixtures.Story, role string) map[string]bool {
	s.Helper()
	var list corev1.PodList
	err := s.API.List(s.Context(), &list, client.InNamespace(s.NS), client.MatchingLabels{siskinv1.CloneLabel: s.App.Name, siskinv1.RoleLabel: role})
	if err != nil {
		s.Fatal(err)
	}
	out := map[string]bool{}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			out[list.Items[i].Name] = true
		}
	}
	return out
}

// TestWhatCreateTakesAndApplyRefuses : the API server creates a Deployment with two elements of one key in a list,
// and refuses to apply it. It is released like any other, from the beginning or later, and what a revision lacks is
// gone.
func TestWhatCreateTakesAndApplyRefuses(t *testing.T) {
	double := map[string]*strings.Replacer{
		"env": strings.NewReplacer("        env:\n", "        env:\n        - {name: MODE, value: a}\n        - {name: MODE, value: b}\n"),
		"ports": strings.NewReplacer("ports: [{name: http, containerPort: 8080}]",
			"ports: [{name: http, containerPort: 8080}, {name: monitoring, containerPort: 8080}]"),
		"host-aliases": strings.NewReplacer("      containers:\n",
			"      hostAliases: [{ip: 10.0.0.9, hostnames: [a]}, {ip: 10.0.0.9, hostnames: [b]}]\n      containers:\n"),
		"late":         strings.NewReplacer("        env:\n", "        env:\n        - {name: MODE, value: a}\n        - {name: MODE, value: b}\n"),
		"pull-secrets": strings.NewReplacer("      containers:\n", "      imagePullSecrets: [{name: keys}, {name: keys}]\n      containers:\n"),
	}
	for name, twice := range double {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := given(t).Story(t, fixtures.App{Name: name})
			plain := s.App.Deployment()
			first, others := twice.Replace(plain), []string{plain, twice.Replace(plain), plain}
			if name == "late" { // the clones were applied before
				first, others = plain, []string{twice.Replace(plain), plain}
			}
			kubectl(s, first, "create")
			s.Apply(s.App.BlueGreen(switched))
			s.Phase(siskinv1.PhaseInitialized, time.Minute)
			for i, manifest := range others {
				s.App.Version = fmt.Sprintf("1.%d.0", i+1)
				manifest = strings.ReplaceAll(manifest, "1.0.0", s.App.Version)
				kubectl(s, manifest, "replace")
				promoted(s, s.App.Version)
				was, is := s.Deployment("").Spec.Template.Spec, s.Deployment("-primary").Spec.Template.Spec
				a, b := was.Containers[0], is.Containers[0]
				if len(a.Env) != len(b.Env) || len(a.Ports) != len(b.Ports) || len(was.HostAliases) != len(is.HostAliases) ||
					len(was.ImagePullSecrets) != len(is.ImagePullSecrets) {
					t.Errorf("%s: the primary has other elements than the target: %+v, %+v", s.App.Version, is, was)
				}
			}
			before := pods(s, "primary")
			if out, err := s.Kubectl(t.Context(), "-n", s.NS, "scale", "deployment/"+name, "--replicas=2"); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			cluster.Eventually(t, time.Minute, func(context.Context) error {
				after := pods(s, "primary")
				for pod := range before {
					if !after[pod] {
						return fmt.Errorf("pod %s was replaced", pod)
					}
				}
				if len(after) != 2 {
					return errors.New("not scaled")
				}
				return nil
			})
		})
	}
}

// unlearn deletes a policy of the cluster, which does not go with a namespace.
func unlearn(e *fixtures.Env, policy string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, _ = e.Kubectl(ctx, "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", policy)
}

// TestClonesHaveTheMetadataOfTheTarget : an admission policy that asks for an annotation lets clones in, and edits of
// the target at rest reach the primary without a rollout and without a new pod.
func TestClonesHaveTheMetadataOfTheTarget(t *testing.T) {
	s := given(t).Story(t, fixtures.App{})
	s.Apply(fmt.Sprintf(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: "'annotations' in object.metadata && 'example.org/team' in object.metadata.annotations"
    message: every Deployment needs the annotation example.org/team
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, s.NS))
	t.Cleanup(func() { unlearn(s.Env, s.NS) })
	manifest := func(metadata, spec string) string {
		return strings.NewReplacer("metadata:\n  name: shop\n", "metadata:\n  name: shop\n"+metadata, "spec:\n  replicas", "spec:\n"+spec+"  replicas").
			Replace(s.App.Deployment())
	}
	s.Apply(manifest("  annotations: {example.org/team: birds}\n", ""))
	s.Apply(s.App.BlueGreen(switched))
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	before := pods(s, "primary")
	for _, step := range []struct {
		metadata, spec string
		ok             func(*appsv1.Deployment) bool
	}{
		{"  annotations: {example.org/team: finches}\n  labels: {tier: front}\n", "  minReadySeconds: 1\n", func(d *appsv1.Deployment) bool {
			return d.Annotations["example.org/team"] == "finches" && d.Labels["tier"] == "front" && d.Spec.MinReadySeconds == 1
		}},
		{
			"  annotations: {example.org/team: finches, example.org/oncall: ann}\n", "  strategy: {type: Recreate}\n  progressDeadlineSeconds: 77\n",
			func(d *appsv1.Deployment) bool {
				return d.Annotations["example.org/oncall"] == "ann" && d.Labels["tier"] == "" && d.Spec.MinReadySeconds == 0 &&
					d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && *d.Spec.ProgressDeadlineSeconds == 77
			},
		},
		{
			"  annotations: {example.org/team: finches}\n", "  strategy: {rollingUpdate: {maxSurge: 2}}\n  revisionHistoryLimit: 3\n",
			func(d *appsv1.Deployment) bool {
				return d.Annotations["example.org/oncall"] == "" && d.Spec.Strategy.RollingUpdate != nil &&
					d.Spec.Strategy.RollingUpdate.MaxSurge.IntVal == 2 && *d.Spec.RevisionHistoryLimit == 3
			},
		},
	} {
		// kubectl apply cannot take a union field back by itself
		s.Apply(strings.Replace(manifest(step.metadata, step.spec), "strategy: {type: Recreate}", "strategy: {type: Recreate, rollingUpdate: null}", 1))
		cluster.Eventually(t, 30*time.Second, func(context.Context) error {
			if d := s.Deployment("-primary"); !step.ok(d) {
				return fmt.Errorf("the primary has not got %s%s: %+v, %+v", step.metadata, step.spec, d.ObjectMeta, d.Spec.Strategy)
			}
			return nil
		})
	}
	if c := s.Now(); c.Status.Phase != siskinv1.PhaseInitialized || c.Status.Rollout != nil {
		t.Errorf("a rollout began: %s, %+v", c.Status.Phase, c.Status.Rollout)
	}
	after := pods(s, "primary")
	for pod := range before {
		if !after[pod] {
			t.Errorf("pod %s was replaced", pod)
		}
	}
}

// TestNamesThatAreTooLong : nothing is made before all names fit, and the way out that is told can be taken.
func TestNamesThatAreTooLong(t *testing.T) {
	name := strings.Repeat("n", 60)
	s := given(t).Story(t, fixtures.App{Name: name})
	s.Apply(s.App.Deployment())
	s.Apply(s.App.BlueGreen(switched))
	s.When(30*time.Second, func(c *siskinv1.Canary) string {
		if !strings.Contains(c.Status.Message, "set spec.service.name to another one of at most 55 characters") {
			return "not told: " + c.Status.Message
		}
		return ""
	})
	var services corev1.ServiceList
	var deployments appsv1.DeploymentList
	for _, list := range []client.ObjectList{&services, &deployments} {
		if err := s.API.List(t.Context(), list, client.InNamespace(s.NS)); err != nil {
			t.Fatal(err)
		}
	}
	if len(services.Items) != 0 || len(deployments.Items) != 1 {
		t.Errorf("%d Services and %d Deployments", len(services.Items), len(deployments.Items))
	}
	s.Patch(`{"service": {"name": "shop"}}`)
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
}
