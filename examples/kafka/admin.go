package kafka

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// withTimeout bounds how long an administrative request waits for the cluster.
func withTimeout(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(max(millis, 1000))*time.Millisecond)
}

// propose gives a command to the cluster and returns how it went in the terms
// of the protocol.
func (b *broker) propose(ctx context.Context, c command) (code int16, text *string) {
	r, err := b.control.Propose(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return kerr.RequestTimedOut.Code, new(err.Error())
	case err != nil:
		b.log.Warn("the cluster takes no command", "error", err)
		return kerr.NotController.Code, new(err.Error()) // the client asks again, where the next one leads
	case r.Code != 0:
		return r.Code, &r.Message
	}
	return 0, nil
}

func (b *broker) createTopics(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.CreateTopicsRequest)
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		asked := map[string]int{}
		for _, t := range req.Topics {
			asked[t.Topic]++
		}
		for _, t := range req.Topics {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t.Topic, -1, -1
			c, err := b.checkCreate(t)
			switch {
			case asked[t.Topic] > 1:
				rt.ErrorCode, rt.ErrorMessage = kerr.InvalidRequest.Code, new("the topic is named twice")
			case err.Code != 0:
				rt.ErrorCode, rt.ErrorMessage = err.Code, &err.Message
			case req.ValidateOnly:
				_, r := b.control.Image().apply(command{Topic: &c})
				if rt.ErrorCode = r.Code; r.Code != 0 {
					rt.ErrorMessage = &r.Message
				}
			default:
				r, err := b.create(ctx, c)
				if rt.ErrorCode = r.Code; r.Code != 0 {
					rt.ErrorMessage = &r.Message
				}
				if err != nil {
					rt.ErrorCode, rt.ErrorMessage = kerr.RequestTimedOut.Code, new(err.Error())
				}
			}
			if made := b.control.Image().Topics[t.Topic]; rt.ErrorCode == 0 && made != nil {
				rt.TopicID, rt.NumPartitions, rt.ReplicationFactor = made.ID, int32(len(made.Partitions)), int16(len(made.Partitions[0].Replicas))
				for _, s := range topicSettingsList {
					value, source := made.valueOf(s)
					rt.Configs = append(rt.Configs, kmsg.CreateTopicsResponseTopicConfig{Name: s.name, Value: &value, Source: int8(source)})
				}
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
}

// checkCreate turns what a client asks for into a command.
func (b *broker) checkCreate(t kmsg.CreateTopicsRequestTopic) (createTopic, result) {
	c := createTopic{Name: t.Topic, Partitions: int(t.NumPartitions), Replicas: int(t.ReplicationFactor), Config: map[string]string{}}
	if err := checkTopicName(t.Topic); err != nil {
		return c, refuse(kerr.InvalidTopicException, "%v", err)
	}
	if c.Partitions == -1 {
		c.Partitions = b.Defaults.partitions
	}
	if c.Replicas == -1 {
		c.Replicas = min(b.Defaults.replicas, len(b.control.Image().alive()))
	}
	for _, setting := range t.Configs {
		if setting.Value != nil {
			c.Config[setting.Name] = *setting.Value
		}
	}
	if err := checkSettings(c.Config); err != nil {
		return c, refuse(kerr.InvalidConfig, "%v", err)
	}
	if len(t.ReplicaAssignment) == 0 {
		return c, result{}
	}
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return c, refuse(kerr.InvalidRequest, "both a number of partitions and their placement")
	}
	c.Placement = make([][]int32, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(c.Placement) || c.Placement[a.Partition] != nil {
			return c, refuse(kerr.InvalidReplicaAssignment, "the partitions are not numbered from 0")
		}
		c.Placement[a.Partition] = a.Replicas
	}
	return c, result{}
}

// valueOf returns a setting of a topic and where it comes from.
func (t *topic) valueOf(s setting) (string, kmsg.ConfigSource) {
	if v, ok := t.Config[s.name]; ok {
		return v, kmsg.ConfigSourceDynamicTopicConfig
	}
	return s.fallback, kmsg.ConfigSourceDefaultConfig
}

func (b *broker) deleteTopics(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DeleteTopicsRequest)
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		asked := req.Topics
		for _, name := range req.TopicNames {
			asked = append(asked, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		}
		for _, want := range asked {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.Topic, rt.TopicID = want.Topic, want.TopicID
			m := b.control.Image()
			t := m.byID(want.TopicID)
			rt.ErrorCode = kerr.UnknownTopicID.Code
			if want.Topic != nil {
				t = m.Topics[*want.Topic]
				rt.ErrorCode = kerr.UnknownTopicOrPartition.Code
			}
			switch {
			case t == nil:
			case t.Internal:
				rt.ErrorCode, rt.ErrorMessage = kerr.InvalidTopicException.Code, new("the topic belongs to the brokers")
			default:
				rt.Topic, rt.TopicID = &t.Name, t.ID
				rt.ErrorCode, rt.ErrorMessage = b.propose(ctx, command{Delete: &deleteTopic{ID: t.ID}})
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
}

func (b *broker) createPartitions(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.CreatePartitionsRequest)
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for _, want := range req.Topics {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic = want.Topic
			c := addPartitions{Name: want.Topic, Count: int(want.Count)}
			for _, a := range want.Assignment {
				c.Placement = append(c.Placement, a.Replicas)
			}
			if req.ValidateOnly {
				if _, r := b.control.Image().apply(command{Partitions: &c}); r.Code != 0 {
					rt.ErrorCode, rt.ErrorMessage = r.Code, &r.Message
				}
			} else if rt.ErrorCode, rt.ErrorMessage = b.propose(ctx, command{Partitions: &c}); rt.ErrorCode == 0 {
				if t := b.control.Image().Topics[want.Topic]; t != nil {
					b.settle(ctx, t.ID)
				}
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
}

func (b *broker) describeConfigs(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	m := b.control.Image()
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	for _, want := range once(req.Resources, func(r kmsg.DescribeConfigsRequestResource) resource { return resource{r.ResourceType, r.ResourceName} }) {
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
		switch want.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			t := m.Topics[want.ResourceName]
			if t == nil {
				rr.ErrorCode = kerr.UnknownTopicOrPartition.Code
				break
			}
			for _, s := range topicSettingsList {
				value, source := t.valueOf(s)
				rr.Configs = append(rr.Configs, describeSetting(req, s, value, source))
			}
		case kmsg.ConfigResourceTypeBroker:
			for _, s := range b.settings() {
				c := describeSetting(req, s, s.fallback, kmsg.ConfigSourceStaticBrokerConfig)
				c.ReadOnly = true
				rr.Configs = append(rr.Configs, c)
			}
		default:
			rr.ErrorCode, rr.ErrorMessage = kerr.InvalidRequest.Code, new("only topics and brokers have configs here")
		}
		if want.ConfigNames != nil {
			rr.Configs = slices.DeleteFunc(rr.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
				return !slices.Contains(want.ConfigNames, c.Name)
			})
		}
		resp.Resources = append(resp.Resources, rr)
	}
	return now(resp)
}

func describeSetting(req *kmsg.DescribeConfigsRequest, s setting, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.Source, c.ConfigType = s.name, &value, source, s.kind
	c.IsDefault = source == kmsg.ConfigSourceDefaultConfig
	if req.IncludeDocumentation {
		c.Documentation = &s.what
	}
	if req.IncludeSynonyms {
		if !c.IsDefault {
			c.ConfigSynonyms = append(c.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: s.name, Value: &value, Source: source})
		}
		if source != kmsg.ConfigSourceStaticBrokerConfig {
			c.ConfigSynonyms = append(c.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: s.name, Value: &s.fallback, Source: kmsg.ConfigSourceDefaultConfig})
		}
	}
	return c
}

// alterConfigs replaces all settings of topics.
func (b *broker) alterConfigs(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.AlterConfigsRequest)
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := withTimeout(ctx, 0)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for _, want := range req.Resources {
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
			set := map[string]string{}
			for _, c := range want.Configs {
				if c.Value != nil {
					set[c.Name] = *c.Value
				}
			}
			rr.ErrorCode, rr.ErrorMessage = b.configure(ctx, want.ResourceType, want.ResourceName, set, req.ValidateOnly)
			resp.Resources = append(resp.Resources, rr)
		}
		return resp
	}
}

// incrementalAlterConfigs changes some settings of topics.
func (b *broker) incrementalAlterConfigs(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.IncrementalAlterConfigsRequest)
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := withTimeout(ctx, 0)
		defer cancel()
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for _, want := range req.Resources {
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = want.ResourceType, want.ResourceName
			set := map[string]string{}
			if t := b.control.Image().Topics[want.ResourceName]; t != nil {
				maps.Copy(set, t.Config)
			}
			if r := change(set, want.Configs); r.Code != 0 {
				rr.ErrorCode, rr.ErrorMessage = r.Code, &r.Message
			} else {
				rr.ErrorCode, rr.ErrorMessage = b.configure(ctx, want.ResourceType, want.ResourceName, set, req.ValidateOnly)
			}
			resp.Resources = append(resp.Resources, rr)
		}
		return resp
	}
}

// change makes the changes that were asked for to a set of settings.
func change(set map[string]string, changes []kmsg.IncrementalAlterConfigsRequestResourceConfig) result {
	for _, c := range changes {
		switch s := settingCalled(c.Name); {
		case s == nil:
			return refuse(kerr.InvalidConfig, "unknown topic config %q", c.Name)
		case c.Op == kmsg.IncrementalAlterConfigOpDelete:
			delete(set, c.Name)
		case c.Value == nil:
			return refuse(kerr.InvalidRequest, "%s has no value", c.Name)
		case c.Op == kmsg.IncrementalAlterConfigOpSet:
			set[c.Name] = *c.Value
		case s.kind != kmsg.ConfigTypeList:
			return refuse(kerr.InvalidConfig, "%s is no list", c.Name)
		default:
			present, ok := set[c.Name]
			if !ok {
				present = s.fallback
			}
			set[c.Name] = alterList(present, *c.Value, c.Op == kmsg.IncrementalAlterConfigOpAppend)
		}
	}
	return result{}
}

// configure makes set the settings of a topic.
func (b *broker) configure(ctx context.Context, kind kmsg.ConfigResourceType, name string, set map[string]string, validate bool) (int16, *string) {
	if kind != kmsg.ConfigResourceTypeTopic {
		return kerr.InvalidRequest.Code, new("only the configs of topics can be changed; those of a broker are its flags")
	}
	if t := b.control.Image().Topics[name]; t == nil {
		return kerr.UnknownTopicOrPartition.Code, nil
	}
	if err := checkSettings(set); err != nil {
		return kerr.InvalidConfig.Code, new(err.Error())
	}
	if validate {
		return 0, nil
	}
	return b.propose(ctx, command{Config: &setConfig{Name: name, Set: set}})
}

// describeLogDirs tells how large the partitions of this broker are.
func (b *broker) describeLogDirs(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DescribeLogDirsRequest)
	return func(context.Context) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir, dir.TotalBytes, dir.UsableBytes = b.logsDir(), -1, -1
		asked := map[string]map[int32]bool{}
		for _, t := range req.Topics {
			if asked[t.Topic] == nil {
				asked[t.Topic] = map[int32]bool{}
			}
			for _, index := range t.Partitions {
				asked[t.Topic][index] = true
			}
		}
		for _, p := range b.all() {
			if req.Topics != nil && !asked[p.name][p.index] {
				continue
			}
			if n := len(dir.Topics); n == 0 || dir.Topics[n-1].Topic != p.name {
				t := kmsg.NewDescribeLogDirsResponseDirTopic()
				t.Topic = p.name
				dir.Topics = append(dir.Topics, t)
			}
			rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			rp.Partition, rp.Size = p.index, p.log.Stats().Size
			t := &dir.Topics[len(dir.Topics)-1]
			t.Partitions = append(t.Partitions, rp)
		}
		resp.Dirs = append(resp.Dirs, dir)
		return resp
	}
}
