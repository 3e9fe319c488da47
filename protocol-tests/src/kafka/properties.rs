//! What a node's `server.properties` says.

use std::path::Path;

use super::{KafkaCluster, Mode, Node, SESSION_TIMEOUT_MS, START_LIMIT};

impl KafkaCluster {
    /// The lines of a node's `server.properties`, for a quick start and for few threads.
    pub(super) fn properties(&self, node: &Node) -> Vec<(String, String)> {
        let replicas = self.nodes.len().to_string();
        let min_isr = if self.nodes.len() == 3 { "2" } else { "1" };
        let client_protocol = if self.spec.tls { "SSL" } else { "PLAINTEXT" };
        let listeners = format!("CLIENT://127.0.0.1:{},CONTROL://127.0.0.1:{}", node.client_port, node.control_port);
        // `localhost` and not the address: the server name is then a DNS name, the ordinary case of certificate checks.
        let advertised =
            format!("CLIENT://localhost:{},CONTROL://localhost:{}", self.advertised_port(node.id), node.control_port);
        let protocols = format!("CLIENT:{client_protocol},CONTROL:PLAINTEXT,CONTROLLER:PLAINTEXT");
        let data = node.folder.join("data");
        let mut lines: Vec<(&str, String)> = vec![
            ("log.dirs", data.to_string_lossy().into_owned()),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", protocols),
            ("inter.broker.listener.name", "CONTROL".into()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("offsets.topic.num.partitions", "4".into()),
            ("transaction.state.log.replication.factor", replicas.clone()),
            ("transaction.state.log.min.isr", min_isr.into()),
            ("transaction.state.log.num.partitions", "4".into()),
            ("default.replication.factor", replicas),
            ("min.insync.replicas", min_isr.into()),
            ("group.initial.rebalance.delay.ms", "0".into()),
            ("auto.create.topics.enable", "false".into()),
            ("log.cleaner.backoff.ms", "500".into()),
            ("log.cleaner.dedupe.buffer.size", "16777216".into()),
            ("log.retention.check.interval.ms", "1000".into()),
            ("controlled.shutdown.max.retries", "1".into()),
        ];
        if !self.spec.as_released {
            lines.extend([("num.network.threads", "2".into()), ("num.io.threads", "4".into())]);
        }
        match self.spec.mode {
            Mode::ZooKeeper => lines.extend([
                ("broker.id", node.id.to_string()),
                ("listeners", listeners),
                ("zookeeper.connect", format!("127.0.0.1:{}", self.zookeeper_port)),
                ("zookeeper.session.timeout.ms", SESSION_TIMEOUT_MS.to_string()),
                // It starts at the same time, and on a loaded machine not within the 18 s after which a broker exits.
                ("zookeeper.connection.timeout.ms", START_LIMIT.as_millis().to_string()),
            ]),
            Mode::KRaft => {
                let voter = |node: &Node| format!("{}@127.0.0.1:{}", node.id, node.controller_port);
                lines.extend([
                    ("node.id", node.id.to_string()),
                    ("process.roles", "broker,controller".into()),
                    ("listeners", format!("{listeners},CONTROLLER://127.0.0.1:{}", node.controller_port)),
                    ("controller.listener.names", "CONTROLLER".into()),
                    ("controller.quorum.voters", self.nodes.iter().map(voter).collect::<Vec<_>>().join(",")),
                    ("broker.session.timeout.ms", SESSION_TIMEOUT_MS.to_string()),
                    ("broker.heartbeat.interval.ms", "500".into()),
                ]);
            }
        }
        if let Some(pki) = &self.pki {
            let file = |path: &Path| path.to_string_lossy().into_owned();
            lines.extend([
                ("listener.name.client.ssl.keystore.type", "PEM".into()),
                ("listener.name.client.ssl.keystore.location", file(&pki.server.keystore)),
                ("listener.name.client.ssl.truststore.type", "PEM".into()),
                ("listener.name.client.ssl.truststore.location", file(&pki.authority.ca_file())),
                ("listener.name.client.ssl.client.auth", "required".into()),
            ]);
        }
        let own = lines.into_iter().map(|(key, value)| (key.to_owned(), value));
        own.chain(self.spec.extra.iter().cloned()).collect()
    }
}
