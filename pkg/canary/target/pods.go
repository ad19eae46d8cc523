package target

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxTrouble bounds what a kubelet or a scheduler says, in bytes.
const maxTrouble = 240

// Selector returns the labels by which a workload finds its pods; nil for a Service, whose pods are the user's.
func Selector(obj client.Object) *metav1.LabelSelector {
	w := workloadOf(obj)
	if w == nil {
		return nil
	}
	return *w.parts().selector
}

// Trouble tells in one sentence why the pods of a workload's present template are not ready, by the one that is worst
// off; "": none is, or it is not known. Pods of what it ran before say nothing about that. What a container wrote at
// its end is not told: it may be secret.
func Trouble(obj client.Object, pods []corev1.Pod) string {
	worst, text, more := 0, "", 0
	for _, p := range present(obj, pods) {
		rank, why := troubleOf(&p)
		if why == "" {
			continue
		}
		more++
		if rank > worst {
			worst, text = rank, fmt.Sprintf("pod %s: %s", p.Name, why)
		}
	}
	if more > 1 {
		text += fmt.Sprintf(", and %d more", more-1)
	}
	return text
}

// present returns the pods that run a workload's present template: those whose containers have its images and, as only
// its controller knows the rest of the template, of these the ones that were made of one template with the newest.
func present(obj client.Object, pods []corev1.Pod) []corev1.Pod {
	w := workloadOf(obj)
	if w == nil || w.state().Updated == 0 {
		return nil
	}
	images := map[string]string{}
	for _, c := range w.parts().template.Spec.Containers {
		images[c.Name] = c.Image
	}
	out := slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool {
		has := 0
		for _, c := range p.Spec.Containers {
			if images[c.Name] == c.Image {
				has++
			}
		}
		return has < len(images) || p.DeletionTimestamp != nil
	})
	slices.SortFunc(out, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	if len(out) == 0 {
		return nil
	}
	of := madeOf(&out[0])
	if s, ok := obj.(*appsv1.StatefulSet); ok {
		of = s.Status.UpdateRevision
	}
	return slices.DeleteFunc(out, func(p corev1.Pod) bool { return madeOf(&p) != of })
}

// madeOf names the template that a pod was made of.
func madeOf(p *corev1.Pod) string {
	return cmp.Or(p.Labels[appsv1.ControllerRevisionHashLabelKey], p.Labels[appsv1.DefaultDeploymentUniqueLabelKey])
}

// troubleOf tells why a pod is not ready, and how bad that is.
func troubleOf(p *corev1.Pod) (rank int, why string) {
	conditions := map[corev1.PodConditionType]corev1.PodCondition{}
	for _, c := range p.Status.Conditions {
		conditions[c.Type] = c
	}
	scheduled, known := conditions[corev1.PodScheduled]
	switch {
	case conditions[corev1.PodReady].Status == corev1.ConditionTrue:
		return 0, ""
	case p.Status.Phase == corev1.PodFailed:
		return 5, said("it failed: "+p.Status.Reason, p.Status.Message)
	case known && scheduled.Status == corev1.ConditionFalse:
		return 3, said("it is not scheduled ("+scheduled.Reason+")", scheduled.Message)
	}
	specs := map[string]corev1.Container{}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		specs[c.Name] = c
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if r, text := containerTrouble(s, specs[s.Name]); r > rank {
			rank, why = r, text
		}
	}
	if why != "" {
		return rank, why
	}
	for _, gate := range p.Spec.ReadinessGates {
		if conditions[gate.ConditionType].Status != corev1.ConditionTrue {
			return 1, fmt.Sprintf("its readiness gate %s is not met", gate.ConditionType)
		}
	}
	return 0, ""
}

// containerTrouble tells why a container is not ready, and how bad that is.
func containerTrouble(s corev1.ContainerStatus, spec corev1.Container) (rank int, why string) {
	switch state, name := s.State, "container "+s.Name+": "; {
	case state.Waiting != nil:
		rank, why = waitTrouble(s)
		return rank, name + why
	case state.Terminated != nil && state.Terminated.ExitCode != 0:
		return 4, name + ended(state.Terminated, s.RestartCount)
	case state.Running != nil && !s.Ready:
		rank, why = probeTrouble(s, spec)
		return rank, name + why
	}
	return 0, ""
}

// waitTrouble tells what a container waits for, or why it ended before.
func waitTrouble(s corev1.ContainerStatus) (rank int, why string) {
	wait, last := s.State.Waiting, s.LastTerminationState.Terminated
	coming := wait.Reason == "ContainerCreating" || wait.Reason == "PodInitializing" || wait.Reason == ""
	switch {
	case coming && last != nil:
		return 4, ended(last, s.RestartCount)
	case coming:
		return 1, "it is being created: its image is pulled, or a volume or the network is not there yet"
	case last != nil:
		return 5, wait.Reason + ", " + ended(last, s.RestartCount)
	}
	return 5, said(wait.Reason, wait.Message)
}

// probeTrouble tells which probe keeps a container that runs from being ready.
func probeTrouble(s corev1.ContainerStatus, spec corev1.Container) (rank int, why string) {
	text := "its readiness probe" + asks(spec.ReadinessProbe) + " does not pass"
	if started := s.Started != nil && *s.Started; spec.StartupProbe != nil && !started {
		text = "its startup probe" + asks(spec.StartupProbe) + " does not pass"
	}
	if last := s.LastTerminationState.Terminated; last != nil {
		return 3, text + ", " + ended(last, s.RestartCount)
	}
	return 2, text
}

// ended tells how a container ended, and how often it was started again.
func ended(t *corev1.ContainerStateTerminated, restarts int32) string {
	text := fmt.Sprintf("it ended with exit code %d", t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		text += " (" + t.Reason + ")"
	}
	if restarts > 0 {
		text += fmt.Sprintf(", %d restarts", restarts)
	}
	return text
}

// asks tells what a probe asks.
func asks(p *corev1.Probe) string {
	switch {
	case p == nil:
		return ""
	case p.HTTPGet != nil:
		return fmt.Sprintf(" (%s %s on port %s)", http.MethodGet, p.HTTPGet.Path, p.HTTPGet.Port.String())
	case p.TCPSocket != nil:
		return fmt.Sprintf(" (TCP port %s)", p.TCPSocket.Port.String())
	case p.GRPC != nil:
		return fmt.Sprintf(" (gRPC port %d)", p.GRPC.Port)
	case p.Exec != nil:
		return " (a command)"
	}
	return ""
}

// said is what and, if anything was said about it, that, in one line.
func said(what, message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if message == "" || strings.Contains(what, message) {
		return what
	}
	if len(message) > maxTrouble {
		message = strings.ToValidUTF8(message[:maxTrouble], "") + "…"
	}
	return what + ": " + message
}
