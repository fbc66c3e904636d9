package guard

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/trust/aap"
)

// capability is steps 14 to 17 for a route with an action: the capabilities of
// that name are tried in order, and the first that passes in full decides. It
// gives the place of that one; -1 where the scope decided.
func (j *judgement) capability(ctx context.Context) (int, *refusal) {
	if !j.byCapability() {
		return -1, nil
	}
	j.event.Action = j.route.Action.String()
	places := j.token.agent.For(j.route.Action)
	if len(places) == 0 {
		return -1, refuse("capability", "capability", j.route.Action.String(), "none")
	}
	admitted, no := j.first(ctx, places)
	if no != nil {
		return -1, no
	}
	j.event.Capability = admitted
	if j.token.agent.Oversight.Requires(j.route.Action) {
		return -1, j.approval("approval")
	}
	j.event.Notify = j.token.agent.Oversight.Notifies(j.route.Action)
	return admitted, nil
}

// first finds the first capability that passes. If none does, a rate that was
// the only hindrance is told, since waiting helps; else what hindered the first.
func (j *judgement) first(ctx context.Context, places []int) (int, *refusal) {
	var first, limited *refusal
	counted := false
	for _, i := range places {
		c := &j.token.agent.Capabilities[i]
		no := j.violation(c)
		if no == nil {
			if no = j.rate(ctx, i); no == nil {
				return i, nil
			}
			counted = true
			if no.status == 503 {
				return -1, no
			}
			if limited == nil || no.retryAfter < limited.retryAfter {
				limited = no
			}
		}
		if first == nil {
			first = no
		}
	}
	if limited != nil {
		return -1, limited
	}
	if !counted {
		// A request that reached a capability counts, though it is refused.
		_ = j.rate(ctx, places[0])
	}
	return -1, first
}

// rate is step 16: all windows of the capability have room, or none is used.
func (j *judgement) rate(ctx context.Context, place int) *refusal {
	c := &j.token.agent.Capabilities[place].Constraints
	if !c.HasRate() {
		return nil
	}
	until := j.token.token.Expires().Add(j.g.set.Leeway + time.Second)
	d, err := j.g.set.Counters.Take(ctx, j.token.rates[place], rulesOf(c), until)
	switch {
	case err != nil && j.g.set.InsecureAdmitUncounted && !errors.Is(err, quota.ErrFull): // what a flood can fill does not open
		j.event.Uncounted = true
		return nil
	case err != nil:
		return refuse("counters_unavailable", "rate", "counters", err.Error())
	case !d.OK:
		no := refuse("rate_limit", "rate", "room in every window", "none")
		no.retryAfter = time.Duration(d.Seconds()) * time.Second
		return no
	}
	return nil
}

func rulesOf(c *aap.Constraints) []quota.Rule {
	rules := make([]quota.Rule, 0, 3)
	for _, r := range []struct {
		span quota.Span
		most int64
	}{{quota.Minute, c.MaxRequestsPerMinute}, {quota.Hour, c.MaxRequestsPerHour}, {quota.Day, c.MaxRequestsPerDay}} {
		if r.most > 0 {
			rules = append(rules, quota.Rule{Span: r.span, Max: int(min(r.most, 1<<31-1))})
		}
	}
	return rules
}

// violation is step 15: the first constraint of a capability that the request
// does not satisfy. What the request does not say satisfies nothing.
func (j *judgement) violation(capability *aap.Capability) *refusal {
	c := &capability.Constraints
	if c.IsZero() && len(capability.Resources) == 0 && len(capability.Conditions) == 0 {
		return nil
	}
	switch {
	case (c.DomainsAllowed != nil || len(c.DomainsBlocked) > 0) && !c.AllowsHost(j.target()):
		return refuse("domain", "domains", "a target that is allowed", "another, or not told")
	case !c.AllowsTime(j.now):
		return refuse("time_window", "time_window", "open", "closed")
	case !c.AllowsDepth(j.depth()):
		return refuse("capability_depth", "max_depth", "within the capability's limit", "beyond it")
	case !c.AllowsMethod(j.r.method):
		return refuse("method", "allowed_methods", "a method that is allowed", j.r.method)
	case !c.AllowsRequestSize(j.r.length):
		return refuse("request_size", "max_request_size", "a length within the limit", "beyond it, or not told")
	case c.MaxResponseSize > 0 && !j.r.limitsResponse && !j.route.IgnoreResponseSize:
		return refuse("response_size", "max_response_size", "a place where it can be enforced", "forward-auth")
	case c.IPRangesAllowed != nil && !c.AllowsIP(j.destination()):
		return refuse("address", "ip_ranges_allowed", "a destination that is allowed", "another, or not told")
	case !c.AllowsClassification(j.route.Classification):
		return refuse("classification", "data_classification_max", "a label within the limit", j.route.Classification.String())
	case c.AllowedRegions != nil && !c.AllowsRegion(j.region()):
		return refuse("region", "allowed_regions", "a region that is allowed", "another, or not told")
	case !c.AllowsPlaintext() && j.r.scheme != "https":
		return refuse("encryption", "require_encryption", "https", j.r.scheme)
	case !c.RequireApprovalThreshold.IsZero() && !c.AllowsAmount(j.amount()):
		return j.approval("approval_threshold")
	case len(capability.Resources) > 0 && !j.within(capability.Resources):
		return refuse("resource", "resources", "one of the capability's", "another")
	}
	return j.unknown(capability)
}

// unknown refuses what is not understood: a limit that is not enforced is none.
func (j *judgement) unknown(capability *aap.Capability) *refusal {
	names := capability.Constraints.Unknown()
	if len(capability.Conditions) > 0 {
		names = append(names, "conditions")
	}
	if len(names) == 0 {
		return nil
	}
	if j.route.IgnoreUnknown {
		j.event.Ignored = names
		return nil
	}
	return refuse("unknown_constraint", "constraints", "known ones", "unknown ones")
}

// approval refuses what a human has to allow, and says by what reference.
func (j *judgement) approval(reason string) *refusal {
	no := refuse(reason, "oversight", "no human needed", "a human needed")
	if j.token.agent.Oversight != nil {
		no.approval = j.token.agent.Oversight.ApprovalReference
	}
	return no
}

// within holds the request's URL, without the query, against the capability's
// resources: the same, or below one that ends in "/*". Whose host it is, is told by
// the configuration; the request's Host is what the client likes.
func (j *judgement) within(resources []string) bool {
	own := ""
	switch set := j.g.set; {
	case set.public != nil:
		own = j.g.urls(j.r, j.path)[0]
	case set.resource != nil:
		own = set.resource.Scheme + "://" + set.resource.Host + j.path.Escaped()
	default:
		return false
	}
	for _, r := range resources {
		if below, ok := strings.CutSuffix(r, "*"); ok && strings.HasSuffix(below, "/") && strings.HasPrefix(own, below) || r == own {
			return true
		}
	}
	return false
}

// inputs are what was extracted of the request, each at most once.
type inputs struct {
	target, region, amount *string
}

func (j *judgement) extract(into **string, e route.Extractor) string {
	if *into == nil {
		text, _ := e.Read(route.Input{Header: j.r.header, RawQuery: j.r.query, Body: j.r.body})
		*into = &text
	}
	return **into
}

// region is the request's, in the route's words; empty when it is not told.
func (j *judgement) region() string {
	if j.route == nil {
		return ""
	}
	return j.extract(&j.seen.region, j.route.Region)
}

func (j *judgement) amount() aap.Amount {
	a, _ := aap.ParseAmount(j.extract(&j.seen.amount, j.route.Amount)) // absent if it is none
	return a
}

// target is the host of the URL that the request makes the resource go to;
// empty when there is none that every reader would read alike.
func (j *judgement) target() string {
	text := j.extract(&j.seen.target, j.route.Target)
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return ""
	}
	u := webURL(text)
	if u == nil {
		return ""
	}
	return u.Host
}

// destination is the address that the request is going to: the target's, where
// the route has one and its host is an address, else this server's.
func (j *judgement) destination() netip.Addr {
	if j.route.Target.IsZero() {
		return j.r.destination
	}
	host := strings.TrimSuffix(strings.TrimPrefix(hostOnly(j.target()), "["), "]")
	addr, _ := netip.ParseAddr(host) // a name may lead anywhere by the time it is used
	return addr
}

// hostOnly takes the port off.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}
