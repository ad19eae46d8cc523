package target_test

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func canary() *siskinv1.Canary {
	c := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "canary-uid"}}
	c.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	return c
}

// deployment is the target as git wrote it, without the API server's defaults.
func deployment(edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	labels := map[string]string{"app": "web", "tier": "front"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "web", Image: "web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9898}},
				}}},
			},
		},
	}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

// defaulted adds what the API server adds to a Deployment.
func defaulted(d *appsv1.Deployment) {
	d.Spec.RevisionHistoryLimit, d.Spec.ProgressDeadlineSeconds = new(int32(10)), new(int32(600))
	d.Spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	p := &d.Spec.Template.Spec
	p.RestartPolicy, p.DNSPolicy, p.SchedulerName = corev1.RestartPolicyAlways, corev1.DNSClusterFirst, "default-scheduler"
	p.TerminationGracePeriodSeconds, p.SecurityContext = new(int64(30)), &corev1.PodSecurityContext{}
	c := &p.Containers[0]
	c.TerminationMessagePath, c.TerminationMessagePolicy = "/dev/termination-log", corev1.TerminationMessageReadFile
	c.ImagePullPolicy = corev1.PullIfNotPresent
	for i := range c.Ports {
		c.Ports[i].Protocol = corev1.ProtocolTCP
	}
}

func canonical(t *testing.T, r target.Revision) string {
	t.Helper()
	raw, err := r.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// decode reads a Deployment as the API server would send it.
func decode(t *testing.T, text string) *appsv1.Deployment {
	t.Helper()
	var d appsv1.Deployment
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// cloned is the clone of a revision, for a Canary of a Deployment.
func cloned(c *siskinv1.Canary, role, name string, r target.Revision, replicas int32) *appsv1.Deployment {
	obj, err := target.Clone(c, role, name, r, replicas)
	if err != nil {
		panic(err)
	}
	return obj.(*appsv1.Deployment)
}
