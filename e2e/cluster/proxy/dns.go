package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

const ttl = 1 // seconds: tests change Services quickly

// DNS answers for the Services of the cluster; every other name does not exist.
type DNS struct {
	services *Services
	domain   string
	servers  []*dns.Server
}

// ListenDNS binds the server's address, for UDP and TCP.
func ListenDNS(addr, domain string, services *Services) (*DNS, error) {
	d := &DNS{services: services, domain: "." + domain + "."}
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening for DNS: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		_ = pc.Close()
		return nil, fmt.Errorf("listening for DNS: %w", err)
	}
	d.servers = []*dns.Server{{PacketConn: pc, Handler: d}, {Listener: l, Handler: d}}
	return d, nil
}

// Run serves until the context ends.
func (d *DNS) Run(ctx context.Context) error {
	errs := make(chan error, len(d.servers))
	for _, s := range d.servers {
		go func() { errs <- s.ActivateAndServe() }()
	}
	var err error
	select {
	case err = <-errs:
	case <-ctx.Done():
	}
	for _, s := range d.servers {
		err = errors.Join(err, s.Shutdown())
	}
	return err
}

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	m.RecursionAvailable = true
	if len(q.Question) == 1 {
		rrs, exists := d.answer(q.Question[0])
		m.Answer = rrs
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
	}
	_ = w.WriteMsg(m)
}

// answer returns the records for a question, and whether the name exists at all.
func (d *DNS) answer(q dns.Question) ([]dns.RR, bool) {
	name := strings.ToLower(q.Name)
	rest, ok := strings.CutSuffix(name, ".svc"+d.domain)
	if !ok {
		return nil, false
	}
	parts := strings.Split(rest, ".")
	var hostname, service, namespace string
	switch len(parts) {
	case 2:
		service, namespace = parts[0], parts[1]
	case 3:
		hostname, service, namespace = parts[0], parts[1], parts[2]
	default:
		return nil, false
	}
	svc := d.services.service(namespace, service)
	if svc == nil {
		return nil, false
	}
	header := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		target := dns.Fqdn(svc.Spec.ExternalName)
		rrs := []dns.RR{&dns.CNAME{Hdr: header(dns.TypeCNAME), Target: target}}
		more, _ := d.answer(dns.Question{Name: target, Qtype: q.Qtype, Qclass: q.Qclass})
		return append(rrs, more...), true
	}
	ips := []string{svc.Spec.ClusterIP}
	if isHeadless(svc) {
		ips = d.services.addresses(namespace, service, hostname)
	} else if hostname != "" {
		return nil, false
	}
	if len(ips) == 0 {
		return nil, false
	}
	if q.Qtype != dns.TypeA {
		return nil, true
	}
	rrs := make([]dns.RR, 0, len(ips))
	for _, ip := range ips {
		rrs = append(rrs, &dns.A{Hdr: header(dns.TypeA), A: net.ParseIP(ip)})
	}
	return rrs, true
}
