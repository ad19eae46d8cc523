package target_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

var began = metav1.NewTime(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))

// podOf is a pod of web:1 that is not ready, made of a template.
func podOf(name, template string, edits ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: began, Labels: map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: template}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
	for _, edit := range edits {
		edit(&p)
	}
	return p
}

func container(s corev1.ContainerStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		s.Name = "web"
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, s)
	}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message})
	}
}

func TestWhatIsWrongWithPods(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	died := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled", Message: "the app's last words"}}
	crashing := waiting("CrashLoopBackOff", "back-off 10s restarting")
	crashing.LastTerminationState, crashing.RestartCount = died, 3
	probed := func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")}}}
		c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}}
	}
	ready := condition(corev1.PodReady, corev1.ConditionTrue, "", "")
	other := func(p *corev1.Pod) { p.Spec.Containers[0].Image = "web:0" }
	later := func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(began.Add(time.Minute)) }
	for name, tc := range map[string]struct {
		reason string
		pods   []corev1.Pod
		want   string
	}{
		"no image": {
			"as the kubelet says it",
			[]corev1.Pod{podOf("a", "1", container(waiting("ErrImagePull", "failed to pull\nimage \"web:1\": not found")))},
			`pod a: container web: ErrImagePull: failed to pull image "web:1": not found`,
		},
		"a crash loop": {
			"how it ended is more than that it is waited for, and its own words may be secret",
			[]corev1.Pod{podOf("a", "1", container(crashing))},
			"pod a: container web: CrashLoopBackOff, it ended with exit code 137 (OOMKilled), 3 restarts",
		},
		"it has just ended": {"its reason is there at once", []corev1.Pod{podOf("a", "1", container(corev1.ContainerStatus{State: died}))}, "pod a: container web: it ended with exit code 137 (OOMKilled)"},
		"a probe": {
			"which one, and what it asks",
			[]corev1.Pod{podOf("a", "1", probed, container(corev1.ContainerStatus{State: running, Started: new(true)}))},
			"pod a: container web: its readiness probe (GET /ready on port http) does not pass",
		},
		"a startup probe": {
			"the other has not begun",
			[]corev1.Pod{podOf("a", "1", probed, container(corev1.ContainerStatus{State: running, Started: new(false)}))},
			"pod a: container web: its startup probe (TCP port 80) does not pass",
		},
		"restarted by its liveness probe": {
			"it ended",
			[]corev1.Pod{podOf("a", "1", probed, container(corev1.ContainerStatus{State: running, Started: new(true), LastTerminationState: died, RestartCount: 2}))},
			"pod a: container web: its readiness probe (GET /ready on port http) does not pass, it ended with exit code 137 (OOMKilled), 2 restarts",
		},
		"no node": {
			"as the scheduler says it",
			[]corev1.Pod{podOf("a", "1", condition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."))},
			"pod a: it is not scheduled (Unschedulable): 0/3 nodes are available: 3 Insufficient cpu.",
		},
		"a missing Secret": {
			"the reason names it",
			[]corev1.Pod{podOf("a", "1", container(waiting("CreateContainerConfigError", `secret "x" not found`)))},
			`pod a: container web: CreateContainerConfigError: secret "x" not found`,
		},
		"evicted": {"by its phase", []corev1.Pod{podOf("a", "1", func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "the node was low on memory"
		})}, "pod a: it failed: Evicted: the node was low on memory"},
		"an init container": {"it comes first", []corev1.Pod{podOf("a", "1", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
			s := waiting("ImagePullBackOff", "")
			s.Name = "setup"
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{s}
		}, container(waiting("PodInitializing", "")))}, "pod a: container setup: ImagePullBackOff"},
		"a readiness gate": {"somebody else has to say yes", []corev1.Pod{podOf("a", "1", func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/in-pool"}}
		})}, "pod a: its readiness gate example.org/in-pool is not met"},
		"the worst of them": {
			"and how many more", []corev1.Pod{
				podOf("a", "1", container(corev1.ContainerStatus{State: running})), podOf("b", "1", container(waiting("ErrImagePull", ""))), podOf("c", "1", ready),
			}, "pod b: container web: ErrImagePull, and 1 more",
		},
		"other images":           {"they are of another revision", []corev1.Pod{podOf("a", "0", other, container(waiting("ErrImagePull", "")))}, ""},
		"an older template":      {"only its configuration is another", []corev1.Pod{podOf("a", "0", container(crashing)), podOf("b", "1", later, ready)}, ""},
		"a pod that goes":        {"nobody waits for it", []corev1.Pod{podOf("a", "1", func(p *corev1.Pod) { p.DeletionTimestamp = &began }, container(crashing))}, ""},
		"they are being created": {"that may take long", []corev1.Pod{podOf("a", "1", container(waiting("ContainerCreating", "")))}, "pod a: container web: it is being created: its image is pulled, or a volume or the network is not there yet"},
		"all are ready":          {"nothing is wrong", []corev1.Pod{podOf("a", "1", ready)}, ""},
		"there are none":         {"nothing is known", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := deployment(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 })
			if got := target.Trouble(d, tc.pods); got != tc.want {
				t.Errorf("%s: %q instead of %q", tc.reason, got, tc.want)
			}
			d.Status.UpdatedReplicas = 0
			if got := target.Trouble(d, tc.pods); got != "" {
				t.Errorf("its controller has made no pod yet: %q", got)
			}
		})
	}
	long := target.Trouble(deployment(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }),
		[]corev1.Pod{podOf("a", "1", container(waiting("ErrImagePull", strings.Repeat("ä", 1000))))})
	if len(long) > 300 || !strings.HasSuffix(long, "ä…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}

// Why no pod can be made goes before that the Deployment has waited long enough.
func TestAQuotaIsNamed(t *testing.T) {
	quota := appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}
	late := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded", Message: "it timed out"}
	for _, conditions := range [][]appsv1.DeploymentCondition{{quota, late}, {late, quota}} {
		st := target.Observe(deployment(func(d *appsv1.Deployment) { d.Status.Conditions = conditions }))
		if st.Message != "(exceeded quota)" || !st.Stuck {
			t.Errorf("%+v", st)
		}
	}
}
