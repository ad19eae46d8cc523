package node

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// containerState is what the agent knows of one container.
type containerState struct {
	spec     *corev1.Container
	state    corev1.ContainerState
	last     corev1.ContainerState
	restarts int32
	started  bool
	ready    bool
	pid      int
}

// statusInput is all that a pod's status is made of.
type statusInput struct {
	ip          string
	hostNetwork bool
	initialized bool
	inits       []containerState
	containers  []containerState
	now         metav1.Time
}

// podStatus is the status of a pod, as a kubelet would write it. It keeps the conditions of others and the
// times of conditions that have not changed.
func podStatus(pod *corev1.Pod, in statusInput) corev1.PodStatus {
	s := *pod.Status.DeepCopy()
	s.ObservedGeneration = pod.Generation
	s.Phase = phase(pod, in)
	s.HostIP, s.HostIPs = wire.NodeIP, []corev1.HostIP{{IP: wire.NodeIP}}
	if in.ip != "" {
		s.PodIP, s.PodIPs = in.ip, []corev1.PodIP{{IP: in.ip}}
	}
	if s.StartTime == nil {
		s.StartTime = &in.now
	}
	s.QOSClass = pod.Status.QOSClass
	s.InitContainerStatuses = containerStatuses(in.inits)
	s.ContainerStatuses = containerStatuses(in.containers)

	var unready []string
	for i := range in.containers {
		if !in.containers[i].ready {
			unready = append(unready, in.containers[i].spec.Name)
		}
	}
	done := s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
	reason, message := unreadyReason(s.Phase, unready)
	ready := len(unready) == 0 && !done
	gates := true
	for _, g := range pod.Spec.ReadinessGates {
		gates = gates && conditionTrue(s.Conditions, g.ConditionType)
	}
	set := func(t corev1.PodConditionType, ok bool, reason, message string) {
		setCondition(&s, pod.Generation, in.now, t, ok, reason, message)
	}
	set(corev1.PodScheduled, true, "", "")
	set(corev1.PodReadyToStartContainers, in.ip != "" && !done, "", "")
	if in.initialized {
		set(corev1.PodInitialized, true, "", "")
	} else {
		set(corev1.PodInitialized, false, "ContainersNotInitialized", "init containers have not completed")
	}
	set(corev1.ContainersReady, ready, reason, message)
	if ready && !gates {
		reason, message = "ReadinessGatesNotReady", "a readiness gate is not true"
	}
	set(corev1.PodReady, ready && gates, reason, message)
	return s
}

// unreadyReason tells why containers are not ready, as a kubelet would; empty when they are.
func unreadyReason(phase corev1.PodPhase, unready []string) (reason, message string) {
	switch {
	case phase == corev1.PodSucceeded:
		return "PodCompleted", ""
	case phase == corev1.PodFailed:
		return "PodFailed", ""
	case len(unready) > 0:
		return "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	}
	return "", ""
}

func phase(pod *corev1.Pod, in statusInput) corev1.PodPhase {
	running, waiting, failed := 0, 0, 0
	for i := range in.containers {
		c := &in.containers[i]
		switch {
		case c.state.Running != nil:
			running++
		case c.state.Terminated != nil:
			if c.state.Terminated.ExitCode != 0 {
				failed++
			}
			if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways && pod.DeletionTimestamp == nil {
				running++
			}
		case c.last.Terminated != nil:
			running++ // between two lives
		default:
			waiting++
		}
	}
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever && slices.ContainsFunc(in.inits, failedInit) {
		return corev1.PodFailed
	}
	switch {
	case !in.initialized || waiting > 0:
		return corev1.PodPending
	case running > 0:
		return corev1.PodRunning
	case failed > 0:
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}

func failedInit(c containerState) bool {
	return c.state.Terminated != nil && c.state.Terminated.ExitCode != 0
}

func containerStatuses(in []containerState) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range in {
		c := &in[i]
		started := c.started
		status := corev1.ContainerStatus{
			Name: c.spec.Name, Image: c.spec.Image, ImageID: imageID(c.spec.Image),
			State: c.state, LastTerminationState: c.last, RestartCount: c.restarts, Ready: c.ready, Started: &started,
		}
		if c.pid > 0 {
			status.ContainerID = fmt.Sprintf("process://%d", c.pid)
		}
		out = append(out, status)
	}
	return out
}

// imageID is a stable digest-like id, so that the same image always has the same one.
func imageID(image string) string {
	h := fnv.New128a()
	_, _ = h.Write([]byte(image))
	name, _, _ := strings.Cut(image, "@")
	return fmt.Sprintf("%s@sha256:%064x", name, h.Sum(nil))
}

func conditionTrue(conditions []corev1.PodCondition, t corev1.PodConditionType) bool {
	for i := range conditions {
		if conditions[i].Type == t {
			return conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

func setCondition(s *corev1.PodStatus, generation int64, now metav1.Time, t corev1.PodConditionType, ok bool, reason, message string) {
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	c := corev1.PodCondition{Type: t, Status: status, Reason: reason, Message: message, LastTransitionTime: now, ObservedGeneration: generation}
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			if s.Conditions[i].Status == status {
				c.LastTransitionTime = s.Conditions[i].LastTransitionTime
			}
			s.Conditions[i] = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}
